"""One stock component at a time, loaded from its folder or file, damaged ones refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import diffusers
import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import CLIPTokenizer

from diffpref.errors import ConfigError, UnsafeFileError
from diffpref.models.family import Family
from diffpref.models.hub import locate
from diffpref.models.layout import find_variant, read_config
from diffpref.models.quiet import quiet
from diffpref.models.text import Encoder, TextEncoders

Net = TypeVar("Net", bound=nn.Module)


def load_vae(source: str, layout: Path, wide: torch.dtype) -> AutoencoderKL:
    """Load another autoencoder: a folder, a hub id, or a single safetensors file.

    Raises:
        ConfigError: nothing there, or a folder without an autoencoder.
        UnsafeFileError: pickled weights.
        HubError: not on this machine and out of reach.
    """
    path = locate(source, where="model.vae").path
    if path.is_file():
        tensor_names(path, "model.vae")
        with quiet():
            return AutoencoderKL.from_single_file(
                str(path), config=str(layout), subfolder="vae", dtype=wide, local_files_only=True
            )
    folder = path / "vae" if (path / "vae").is_dir() else path
    kind = read_config(folder / "config.json").get("_class_name", "nothing")
    if kind != "AutoencoderKL":
        raise ConfigError(
            f"{source} holds a {kind}",
            where="model.vae",
            hint="give an AutoencoderKL, e.g. madebyollin/sdxl-vae-fp16-fix, or leave it out",
        )
    return load_net(AutoencoderKL, folder, wide, "model.vae")


def load_text(
    family: Family, layout: Path, encoders: tuple[Encoder, ...], index: Mapping[str, object]
) -> TextEncoders:
    """Put the tokenizers of a folder beside their encoders.

    Raises:
        ConfigError: a tokenizer is missing or damaged.
    """
    tokenizers: list[CLIPTokenizer] = []
    for tower in family.towers:
        try:
            tokenizers.append(
                CLIPTokenizer.from_pretrained(str(layout / tower.tokenizer), local_files_only=True)
            )
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{layout.name}/{tower.tokenizer} is not a CLIP tokenizer",
                where="model.base",
                hint="the download is incomplete: fetch the model again",
            ) from error
    return TextEncoders(
        tokenizers=tuple(tokenizers),
        encoders=encoders,
        penultimate=family.penultimate,
        masked=family.image_width is not None,
        zero_uncond=bool(index.get("force_zeros_for_empty_prompt", family.micro_conditioned)),
    )


def load_scheduler(layout: Path) -> ConfigMixin:
    """Return the stock scheduler of a folder.

    Raises:
        ConfigError: the folder has none.
    """
    config = read_config(layout / "scheduler" / "scheduler_config.json")
    kind = getattr(diffusers, str(config.get("_class_name")), None)
    if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
        raise ConfigError(
            f"{layout.name}/scheduler has no scheduler of diffusers: {config.get('_class_name')}",
            where="model.base",
            hint="the download is incomplete: fetch the model again",
        )
    stock: Any = kind
    return stock.from_config(config)


def tensor_names(file: Path, where: str) -> list[str]:
    """Return the names of a file's tensors, reading its header only.

    Raises:
        UnsafeFileError: not a safetensors file.
    """
    try:
        with safe_open(file, framework="pt") as weights:
            return list(weights.keys())
    except SafetensorError as error:
        hint = "the download is incomplete, or the file is something else: fetch it again"
        raise UnsafeFileError(f"{file.name} is not safetensors", where=where, hint=hint) from error


def load_net(kind: type[Net], folder: Path, dtype: torch.dtype, where: str) -> Net:
    """Load one component, and refuse one whose file lacks weights (stock code makes them up).

    Raises:
        ConfigError: damaged, incomplete, or another model's.
        UnsafeFileError: pickled weights.
    """
    variant = find_variant(folder, where)
    stock: Any = kind
    try:
        with quiet():
            net, report = stock.from_pretrained(
                str(folder),
                dtype=dtype,
                variant=variant,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _broken(folder, where, str(error).strip().partition("\n")[0]) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise _broken(folder, where, f"{len(missing)} tensors are missing: {missing[0]} ...")
    return net


def _broken(folder: Path, where: str, why: str) -> ConfigError:
    return ConfigError(
        f"{folder.parent.name}/{folder.name} cannot be loaded: {why}",
        where=where,
        hint="the download is incomplete, or the config is another model's: fetch it again",
    )
