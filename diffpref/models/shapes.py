"""A model's shapes without its weights: from its configs, or the known ones of a family's base."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from diffpref.errors import ConfigError, HubError
from diffpref.models.family import FAMILIES, Family, detect_family
from diffpref.models.hub import locate
from diffpref.models.layout import read_config, read_index
from diffpref.models.load import DTYPES
from diffpref.models.memory import freeze
from diffpref.models.quiet import quiet
from diffpref.models.stock import STOCK, Config
from diffpref.models.vae import downsampling
from diffpref.types import Conditioning

TOKENS = 77


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """A model whose every tensor is on the meta device, which holds no numbers.

    `rest` are the autoencoder and the text encoders, which a run has beside its UNet.
    """

    family: Family
    unet: UNet2DConditionModel
    rest: tuple[nn.Module, ...]
    vae_factor: int
    dtype: torch.dtype

    @property
    def resolution(self) -> int:
        """The side in pixels the UNet was made for."""
        size = self.unet.config["sample_size"]
        return int(size) * self.vae_factor if isinstance(size, int) else self.family.resolution

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return [c h w] of the latents of an image of height x width pixels."""
        channels = int(self.unet.config["in_channels"])
        return channels, height // self.vae_factor, width // self.vae_factor

    def told(self) -> Conditioning:
        """Return the conditioning of one prompt, without its numbers."""
        width = int(self.unet.config["cross_attention_dim"])
        text = torch.empty(1, TOKENS, width, device="meta")
        if not self.family.micro_conditioned:
            return Conditioning(text=text)
        ids = 6 * int(self.unet.config["addition_time_embed_dim"])
        pooled = int(self.unet.config["projection_class_embeddings_input_dim"]) - ids
        return Conditioning(
            text=text,
            pooled=torch.empty(1, pooled, device="meta"),
            time_ids=torch.empty(1, 6, device="meta"),
        )


def shapes_of(base: str, *, dtype: str, revision: str | None = None) -> Shapes:
    """Return the shapes of a base model.

    Args:
        base: as for `load_bundle`; of a hub id only the configs are needed, and none at all for
            the two bases the presets use.
        dtype: precision of the UNet and the text encoders.
        revision: of a hub id.

    Raises:
        ConfigError: there is no such model, or it is a single file, whose configs are not inside.
        HubError: the configs are neither here nor within reach.
    """
    try:
        found = locate(base, where="model.base", revision=revision, weights=False)
    except HubError:
        known = {family.configs: family for family in FAMILIES.values() if family.name in STOCK}
        if base not in known:
            raise
        return _hollow(known[base], STOCK[known[base].name], dtype)
    if found.path.is_file():
        what, hint = "a single file does not hold its configs", "give a folder or a hub id"
        raise ConfigError(what, where="model.base", hint=hint)
    return _hollow(*_read(found.path), dtype)


def _read(folder: Path) -> tuple[Family, Mapping[str, Config]]:
    unet = read_config(folder / "unet" / "config.json")
    family = detect_family(read_index(folder), unet, folder.name)
    if family.image_width is not None:
        what, hint = "Stable Cascade's memory is not estimated", "start with --smoke and look"
        raise ConfigError(what, where="model.base", hint=hint)
    parts = ("vae", *(tower.encoder for tower in family.towers))
    return family, {
        "unet": unet,
        **{part: read_config(folder / part / "config.json") for part in parts},
    }


def _hollow(family: Family, configs: Mapping[str, Config], dtype: str) -> Shapes:
    compute = DTYPES[dtype]
    with torch.device("meta"), quiet():
        unet: Any = UNet2DConditionModel.from_config(dict(configs["unet"]))
        vae: Any = AutoencoderKL.from_config(dict(configs["vae"]))
        towers = [
            (CLIPTextModelWithProjection if tower.pooled else CLIPTextModel)(
                CLIPTextConfig(**configs[tower.encoder])
            )
            for tower in family.towers
        ]
    for net in (unet, *towers):
        freeze(nn.Module.to(net, compute))
    freeze(nn.Module.to(vae, torch.promote_types(compute, torch.float32)))
    return Shapes(
        family=family,
        unet=unet,
        rest=(vae, *towers),
        vae_factor=downsampling(vae),
        dtype=compute,
    )
