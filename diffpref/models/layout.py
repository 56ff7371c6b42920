"""A model folder in the diffusers layout: its index, its configs, which weights it holds."""

from pathlib import Path
from typing import Any

from diffpref.errors import ConfigError
from diffpref.io import BadText, read_json
from diffpref.models.hub import PICKLES, refuse_pickle

STEMS = ("diffusion_pytorch_model", "model")
VARIANTS = (None, "fp16", "bf16")


def read_index(folder: Path) -> dict[str, Any]:
    """Return model_index.json.

    Raises:
        ConfigError: the folder is not a pipeline.
    """
    if not (folder / "model_index.json").is_file():
        inside = ", ".join(sorted(entry.name for entry in folder.glob("*"))[:8]) or "nothing"
        raise ConfigError(
            f"{folder.name} is not a pipeline folder: no model_index.json, it holds {inside}",
            where="model.base",
            hint="give the folder with unet/, vae/ and model_index.json, or a .safetensors file",
        )
    return read_config(folder / "model_index.json")


def read_config(path: Path) -> dict[str, Any]:
    """Return a JSON object; {} where there is no such file.

    Raises:
        ConfigError: the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        config = read_json(path)
    except BadText as error:
        raise _damaged(path, error.reason) from error
    if not isinstance(config, dict):
        raise _damaged(path, "not a JSON object")
    return config


def find_variant(folder: Path, where: str) -> str | None:
    """Return the variant of a component's safetensors files, None being the plain ones.

    Raises:
        UnsafeFileError: the weights are there only as pickles.
        ConfigError: there are no weights.
    """
    for variant in VARIANTS:
        ending = ".safetensors" if variant is None else f".{variant}.safetensors"
        for stem in STEMS:
            if (folder / f"{stem}{ending}").is_file() or (folder / _index(stem, variant)).is_file():
                return variant
    for entry in sorted(folder.glob("*")):
        if entry.suffix in PICKLES:
            refuse_pickle(folder / entry.name, where)
    raise ConfigError(
        f"{folder.parent.name}/{folder.name} holds no safetensors weights",
        where=where,
        hint="the download is incomplete: fetch the model again",
    )


def _index(stem: str, variant: str | None) -> str:
    middle = "" if variant is None else f".{variant}"
    return f"{stem}.safetensors.index{middle}.json"


def _damaged(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"this file is damaged: {why}",
        where=f"{path.parent.name}/{path.name}",
        hint="fetch the model again",
    )
