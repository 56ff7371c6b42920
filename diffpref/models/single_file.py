"""SD1.5 and SDXL checkpoints in the original one-file layout."""

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_utils import SingleFileComponentError
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from diffpref.errors import ConfigError
from diffpref.models.components import load_scheduler, load_text, tensor_names
from diffpref.models.family import SD15, SDXL, Family
from diffpref.models.hub import locate
from diffpref.models.layout import read_index
from diffpref.models.parts import Parts
from diffpref.models.quiet import quiet

MARKS = {"conditioner.embedders.1.": SDXL, "cond_stage_model.": SD15}
"""How the names of the last text encoder's tensors begin."""


def load_single_file(
    file: Path, config: str | None, dtype: torch.dtype, wide: torch.dtype
) -> Parts:
    """Load a checkpoint that holds weights only; the autoencoder in `wide`.

    Configs and tokenizers come from `config`, a folder in the diffusers layout or a hub id, by
    default the family's own.

    Raises:
        ConfigError: the file is not a whole model of a known family, or the configs are others'.
        UnsafeFileError: not a safetensors file.
        HubError: the configs are not on this machine and cannot be fetched.
    """
    family = find_family(file)
    layout = locate(config or family.configs, where="model.config", weights=False).path
    index = read_index(layout)
    stock: dict[str, Any] = {"config": str(layout), "local_files_only": True}
    unused = ["feature_extractor", "image_encoder", *(["safety_checker"] * (family == SD15))]
    try:
        with quiet():
            vae = AutoencoderKL.from_single_file(str(file), subfolder="vae", dtype=wide, **stock)
            pipe = getattr(diffusers, family.pipeline).from_single_file(
                str(file), dtype=dtype, vae=vae, **dict.fromkeys(unused), **stock
            )
    except (
        SingleFileComponentError,
        AttributeError,
        KeyError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        raise _misfit(file, layout, str(error).strip().partition("\n")[0]) from error
    encoders = tuple(getattr(pipe, tower.encoder) for tower in family.towers)
    for net in (pipe.unet, vae, *encoders):
        missing = [name for name, value in net.named_parameters() if value.is_meta]
        if missing:
            raise _misfit(file, layout, f"{len(missing)} tensors are missing: {missing[0]} ...")
    text = load_text(family, layout, encoders, index)
    return Parts(family, pipe.unet, vae, text, load_scheduler(layout), layout)


def find_family(file: Path) -> Family:
    """Tell the family of a checkpoint by the names of its tensors.

    Raises:
        ConfigError: a LoRA, a part of a model, or another family.
        UnsafeFileError: not a safetensors file.
    """
    names = tensor_names(file, "model.base")
    for mark, family in MARKS.items():
        if any(name.startswith(mark) for name in names):
            return family
    if any("lora" in name for name in names):
        what, hint = "is a LoRA", "give the model it was made for as model.base"
    else:
        what = "is not a whole SD1.5 or SDXL model"
        hint = "choose a checkpoint with text encoders; known families: sd15, sdxl"
    raise ConfigError(f"{file.name} {what}", where="model.base", hint=hint)


def _misfit(file: Path, layout: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{file.name} does not fit the configs of {layout.name}: {why}",
        where="model.config",
        hint="give the folder or hub id of the model it was made from",
    )
