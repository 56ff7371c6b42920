"""The stock components of a model, loaded from a folder in the diffusers layout."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from diffusers.pipelines.stable_cascade.pipeline_stable_cascade import PaellaVQModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from diffpref.models.cascade.effnet import FILE as EFFNET
from diffpref.models.cascade.effnet import EffNetEncoder, load_effnet
from diffpref.models.cascade.stage_b import FOLDER as STAGE_B
from diffpref.models.cascade.stage_b import SCALE, StageB
from diffpref.models.components import load_net, load_scheduler, load_text
from diffpref.models.family import Family, detect_family
from diffpref.models.layout import read_config, read_index
from diffpref.models.memory import freeze
from diffpref.models.text import Encoder, TextEncoders


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
