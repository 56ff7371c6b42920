"""What differs between model families, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.errors import ConfigError
from diffpref.types import Conditioning

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TRANSFORMER = (*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "conv")

LORA_TARGETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "attention": ATTENTION,
        "transformer": TRANSFORMER,
        "everything": (*TRANSFORMER, *CONVOLUTIONS),
    }
)
"""Names a config may use for groups of UNet layers; a layer is adapted if its path ends so."""

Size = Int[Tensor, "n 2"]


@dataclass(frozen=True, kw_only=True)
class Tower:
    """One text encoder: its folders in the diffusers layout and whether it has a pooled output."""

    tokenizer: str
    encoder: str
    pooled: bool


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family. `penultimate`: text states come from the last layer but one, unnormalised.

    `guidance` and `resolution` are the family's defaults; a model's own resolution is in its
    configs. `configs` is a hub id whose configs describe the family's single-file checkpoints.
    """

    name: str
    pipeline: str
    towers: tuple[Tower, ...]
    penultimate: bool
    micro_conditioned: bool
    guidance: float
    resolution: int
    lora_targets: str
    configs: str

    def time_ids(
        self, original_size: Size, crop: Size, target_size: Size
    ) -> Float[Tensor, "n 6"] | None:
        """Return the size and crop numbers the UNet is told, or None for a family without them.

        Units:
            sizes are (height, width) in pixels; crop is (top, left) in pixels of the resized image
            (SDXL, 2307.01952, section 2.2).
        """
        if not self.micro_conditioned:
            return None
        return torch.cat([original_size, crop, target_size], dim=1).float()

    def added(self, cond: Conditioning) -> dict[str, Tensor] | None:
        """Return the UNet's extra inputs.

        Raises:
            ValueError: the family needs `pooled` and `time_ids` and the conditioning lacks one.
        """
        if not self.micro_conditioned:
            return None
        if cond.pooled is None or cond.time_ids is None:
            missing = "pooled" if cond.pooled is None else "time_ids"
            raise ValueError(f"{self.name} needs Conditioning.{missing}: set it on every row")
        return {"text_embeds": cond.pooled, "time_ids": cond.time_ids}


SD15 = Family(
    name="sd15",
    pipeline="StableDiffusionPipeline",
    towers=(Tower(tokenizer="tokenizer", encoder="text_encoder", pooled=False),),
    penultimate=False,
    micro_conditioned=False,
    guidance=7.5,
    resolution=512,
    lora_targets="attention",
    configs="stable-diffusion-v1-5/stable-diffusion-v1-5",
)

SDXL = Family(
    name="sdxl",
    pipeline="StableDiffusionXLPipeline",
    towers=(
        Tower(tokenizer="tokenizer", encoder="text_encoder", pooled=False),
        Tower(tokenizer="tokenizer_2", encoder="text_encoder_2", pooled=True),
    ),
    penultimate=True,
    micro_conditioned=True,
    guidance=5.0,
    resolution=1024,
    lora_targets="attention",
    configs="stabilityai/stable-diffusion-xl-base-1.0",
)

FAMILIES: Mapping[str, Family] = MappingProxyType({"sd15": SD15, "sdxl": SDXL})


def detect_family(index: Mapping[str, object], unet: Mapping[str, object], where: str) -> Family:
    """Return the family of a pipeline from its model_index.json and its UNet's config.

    SD2 checkpoints have SD1.5's shape of conditioning and are served by its record.

    Raises:
        ConfigError: a pipeline of another kind (inpainting, refiner, transformer ...).
    """
    kind = str(index.get("_class_name", "nothing"))
    if not kind.startswith("StableDiffusion") or not unet:
        raise _refused(f"{where} holds a {kind}")
    if unet.get("in_channels") != unet.get("out_channels"):
        channels = unet.get("in_channels")
        raise _refused(f"the UNet of {where} takes {channels} channels (inpainting or editing)")
    if unet.get("addition_embed_type") is None and unet.get("class_embed_type") is None:
        return SD15
    if unet.get("addition_embed_type") != "text_time":
        raise _refused(f"the UNet of {where} has conditioning this package does not know")
    if index.get("requires_aesthetics_score") or "text_encoder" not in index:
        raise _refused(f"{where} is the SDXL refiner")
    return SDXL


def _refused(what: str) -> ConfigError:
    known = ", ".join(f"{family.name} ({family.pipeline})" for family in FAMILIES.values())
    hint = f"choose a text-to-image base of a known family: {known}, e.g. {SD15.configs}"
    return ConfigError(what, where="model.base", hint=hint)
