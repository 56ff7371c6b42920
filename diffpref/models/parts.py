"""The stock components of a model, loaded from a folder in the diffusers layout."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import diffusers
import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from diffusers.pipelines.stable_cascade.pipeline_stable_cascade import PaellaVQModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from diffpref.errors import ConfigError, UnsafeFileError
from diffpref.models.cascade.effnet import FILE as EFFNET
from diffpref.models.cascade.effnet import EffNetEncoder, load_effnet
from diffpref.models.cascade.stage_b import FOLDER as STAGE_B
from diffpref.models.cascade.stage_b import SCALE, StageB
from diffpref.models.family import Family, detect_family
from diffpref.models.hub import locate
from diffpref.models.layout import find_variant, read_config, read_index
from diffpref.models.memory import freeze
from diffpref.models.quiet import quiet
from diffpref.models.text import Encoder, TextEncoders

Net = TypeVar("Net", bound=nn.Module)


class Parts(NamedTuple):
    """A model in pieces, and the folder its configs and tokenizers came from."""

    family: Family
    unet: UNet2DConditionModel | StableCascadeUNet
    vae: AutoencoderKL | EffNetEncoder
    text: TextEncoders
    scheduler: ConfigMixin
    layout: Path
    stage_b: StageB | None = None


def load_folder(folder: Path, dtype: torch.dtype, wide: torch.dtype) -> Parts:
    """Load a pipeline folder in the diffusers layout; the autoencoder in `wide`.

    Raises:
        ConfigError: a component is missing, or the pipeline is of a kind we do not train.
        UnsafeFileError: a component has pickled weights only.
    """
    index = read_index(folder)
    family = detect_family(index, read_config(folder / "unet" / "config.json"), folder.name)
    if family.image_width is not None:
        return _load_stage_c(family, folder, index, dtype, wide)
    encoders: tuple[Encoder, ...] = tuple(
        load_net(CLIPTextModelWithProjection, folder / tower.encoder, dtype, "model.base")
        if tower.pooled
        else load_net(CLIPTextModel, folder / tower.encoder, dtype, "model.base")
        for tower in family.towers
    )
    unet = load_net(UNet2DConditionModel, folder / "unet", dtype, "model.base")
    vae = load_net(AutoencoderKL, folder / "vae", wide, "model.base")
    text = load_text(family, folder, encoders, index)
    return Parts(family, unet, vae, text, load_scheduler(folder), folder)


def _load_stage_c(
    family: Family,
    folder: Path,
    index: Mapping[str, object],
    dtype: torch.dtype,
    wide: torch.dtype,
) -> Parts:
    """Load Stable Cascade's prior, and what is beside it: the encoder's file and stage B."""
    (tower,) = family.towers
    encoder = load_net(CLIPTextModelWithProjection, folder / tower.encoder, dtype, "model.base")
    unet = load_net(StableCascadeUNet, folder / "prior", dtype, "model.base")
    text = load_text(family, folder, (encoder,), index)
    beside = folder / EFFNET
    return Parts(
        replace(family, image_width=int(unet.config["clip_image_in_channels"])),
        unet,
        load_effnet(beside if beside.is_file() else None, wide),
        text,
        load_scheduler(folder),
        folder,
        _load_stage_b(folder / STAGE_B, dtype) if (folder / STAGE_B).is_dir() else None,
    )


def _load_stage_b(folder: Path, dtype: torch.dtype) -> StageB:
    return StageB(
        decoder=freeze(load_net(StableCascadeUNet, folder / "decoder", dtype, "model.base")),
        vqgan=freeze(load_net(PaellaVQModel, folder / "vqgan", dtype, "model.base")),
        scheduler=load_scheduler(folder),
        scale=float(read_index(folder).get("latent_dim_scale", SCALE)),
    )


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
