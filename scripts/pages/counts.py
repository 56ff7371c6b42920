"""What docs/scaling.md counts of SD1.5 and SDXL, counted on shapes; takes half a minute."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from diffpref.bench.flops import pass_flops
from diffpref.models import AdapterConfig, make_adapter, trainable_parameters
from diffpref.models.family import SD15, SDXL, Family
from diffpref.models.shapes import Shapes, shapes_of
from scripts.pages.scaling import Counted

FAMILIES = {"SD1.5": SD15, "SDXL": SDXL}


def counted(family: Family) -> Counted:
    """Count a family's base at its own size."""
    shapes = shapes_of(family.configs, dtype="bf16")
    passes = pass_flops(family.configs, AdapterConfig(kind="full"))
    told = shapes.told()
    pooled = 0 if told.pooled is None else told.pooled[0].numel()
    channels, height, width = shapes.latent_shape(shapes.resolution, shapes.resolution)
    return Counted(
        side=shapes.resolution,
        forward=passes.forward,
        backward=passes.backward,
        encode=_encoding(shapes),
        weights=sum(value.numel() for value in shapes.unet.parameters()),
        lora=_lora(family),
        latent=channels * height * width,
        text=told.text[0].numel() + pooled,
    )


def _encoding(shapes: Shapes) -> int:
    vae: Any = shapes.rest[0]
    side = shapes.resolution
    with FlopCounterMode(display=False) as found, torch.no_grad():
        vae.encode(torch.empty(1, 3, side, side, device="meta", dtype=next(vae.parameters()).dtype))
    return found.get_total_flops()


def _lora(family: Family) -> int:
    shapes = shapes_of(family.configs, dtype="bf16")
    make_adapter(shapes, AdapterConfig(kind="lora", rank=16))
    return sum(value.numel() for value in trainable_parameters(shapes.unet).values())
