"""Arithmetic of a pass and of a method's unit, counted on shapes: no weights, no device.

Two operations per multiply-add; matrix products, convolutions and attention count, norms,
activations and the optimizer do not. Attention's backward is the fused kernel's, which computes the
scores again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from diffpref.catalogue import METHODS
from diffpref.cost import cost
from diffpref.models import AdapterConfig, make_adapter
from diffpref.models.checkpointing import Keep, recomputing
from diffpref.models.live import AsOnCuda
from diffpref.models.shapes import Shapes, shapes_of

ADAPTERS = {
    "full": AdapterConfig(kind="full"),
    "lora": AdapterConfig(kind="lora", rank=16),
}
TERA = 1e12


@dataclass(frozen=True, kw_only=True)
class PassFlops:
    """Operations of one image through the UNet: without gradient, and of the backward pass."""

    forward: int
    backward: int


@dataclass(frozen=True, kw_only=True)
class MethodFlops:
    """Operations per unit of what a method learns from, sampling aside.

    per: the unit. without, graded: images the UNet is run on without and with a gradient.
    """

    name: str
    per: str
    without: float
    graded: float
    flops: float


def pass_flops(base: str, adapter: AdapterConfig, side: int | None = None) -> PassFlops:
    """Count one image's passes.

    Args:
        base: as for `load_bundle`; only shapes are needed.
        adapter: what trains, which decides what the backward pass computes.
        side: pixels; None is the model's own.

    Raises:
        ConfigError: there is no such model.
        HubError: its configs are out of reach.
    """
    shapes = shapes_of(base, dtype="bf16")
    make_adapter(shapes, adapter)
    return count_pass(shapes, side or shapes.resolution)


def count_pass(shapes: Shapes, side: int, keep: Keep = False) -> PassFlops:
    """Count one image's passes through shapes with their adapter in place.

    Args:
        shapes: the model.
        side: pixels.
        keep: what checkpointing keeps; what is computed again is counted in the backward pass.
    """
    net: Any = shapes.unet.train()
    cuda = AsOnCuda(torch.bfloat16)
    if keep is not False:
        net.enable_gradient_checkpointing(recomputing(keep, lambda: cuda))
    with cuda:
        with FlopCounterMode(display=False) as forward:
            predicted = net(**_inputs(shapes, side))[0]
        with FlopCounterMode(display=False) as backward:
            torch.autograd.backward(predicted.float().square().mean())
    return PassFlops(forward=forward.get_total_flops(), backward=backward.get_total_flops())


def method_flops(found: PassFlops, names: Sequence[str] = tuple(METHODS)) -> list[MethodFlops]:
    """Multiply a pass by what methods ask for; passes through a feature network are left out."""
    counted: list[MethodFlops] = []
    for name in names:
        asked: Any = cost(name)
        without, graded = asked["without_gradient"], asked["with_gradient"]
        counted.append(
            MethodFlops(
                name=name,
                per=asked["per"],
                without=without,
                graded=graded,
                flops=(without + graded) * found.forward + graded * found.backward,
            )
        )
    return counted


def _inputs(shapes: Shapes, side: int) -> dict[str, Any]:
    told = shapes.told()
    return {
        "sample": torch.empty(
            1, *shapes.latent_shape(side, side), device="meta", dtype=shapes.dtype
        ),
        "timestep": torch.zeros(1, dtype=torch.long, device="meta"),
        "encoder_hidden_states": told.text.to(shapes.dtype),
        "added_cond_kwargs": shapes.family.added(told),
        "return_dict": False,
    }
