"""What differs between model families, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.errors import ConfigError
from diffpref.models.cascade.levels import ratio_of
from diffpref.schedule import NoiseSchedule
from diffpref.types import Conditioning, Steps

CLEAN = -1

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
    `image_width` is that of Stable Cascade's stage C alone: the numbers of an image's CLIP vector,
    which it is told as zeros. `made` is the side of the pictures it makes, where they are larger
    than those its latents are read from.
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
    image_width: int | None = None
    made: int | None = None

    def inputs(
        self, t: Steps, cond: Conditioning, schedule: NoiseSchedule, dtype: torch.dtype
    ) -> dict[str, Any]:
        """Return what the network is told besides x_t, by the names its stock class has.

        Args:
            t: steps; the clean level -1 is told as the network knows it.
            cond: on the network's device, in its precision.
            schedule: the model's own.
            dtype: the network's precision.
        """
        if self.image_width is None:
            return {
                # the clean level is told as 0; the released inversion scripts ask below it
                "timestep": t.where(t != CLEAN, 0),
                "encoder_hidden_states": cond.text,
                "added_cond_kwargs": self.added(cond),
            }
        if cond.pooled is None:
            raise ValueError(f"{self.name} needs Conditioning.pooled: set it on every row")
        return {
            "timestep_ratio": ratio_of(schedule.at(t)).to(dtype),
            "clip_text_pooled": cond.pooled[:, None],
            "clip_text": cond.text,
            "clip_img": cond.text.new_zeros(len(cond), 1, self.image_width),
        }

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

CASCADE = Family(
    name="cascade",
    pipeline="StableCascadePriorPipeline",
    towers=(Tower(tokenizer="tokenizer", encoder="text_encoder", pooled=True),),
    penultimate=False,
    micro_conditioned=False,
    guidance=4.0,
    resolution=768,
    lora_targets="attention",
    configs="stabilityai/stable-cascade-prior",
    image_width=768,
    made=1024,
)
"""Stage C: latents of EfficientNet features, of which stage B makes pictures."""

FAMILIES: Mapping[str, Family] = MappingProxyType({"sd15": SD15, "sdxl": SDXL, "cascade": CASCADE})


def detect_family(index: Mapping[str, object], unet: Mapping[str, object], where: str) -> Family:
    """Return the family of a pipeline from its model_index.json and its UNet's config.

    SD2 checkpoints have SD1.5's shape of conditioning and are served by its record.

    Raises:
        ConfigError: a pipeline of another kind (inpainting, refiner, transformer ...).
    """
    kind = str(index.get("_class_name", "nothing"))
    if kind == CASCADE.pipeline:
        return CASCADE
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
