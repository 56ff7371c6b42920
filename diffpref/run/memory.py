"""What a step will hold in memory, followed through forward and backward on the meta device."""

from collections.abc import Iterable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffpref.config.schema import RunConfig
from diffpref.models import trainable_parameters
from diffpref.models.checkpointing import Keep, recomputing
from diffpref.models.family import Family
from diffpref.models.live import AsOnCuda, Live
from diffpref.models.user_adapter import UserAdapter, user_adapter_of
from diffpref.schedule import scaled_linear
from diffpref.types import Conditioning, cast

OPTIMIZER_BYTES = {"adamw": 8.0, "adamw8bit": 2.0, "adafactor": 0.1}
"""State bytes per trainable number; Adafactor keeps one row and one column per matrix."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes by what they are for, at the worst moment of a step.

    `activations` is what comes and goes: kept activations, casts, gradients on their way. Kernels'
    work space, the allocator's slack and the device's own context come on top.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True, kw_only=True)
class Worked:
    """How a step goes through its rows.

    rows: images of activations held at once. latent: c, h, w. keep: what checkpointing keeps.
    accumulates: whether gradients of earlier passes wait while a pass is made.
    """

    rows: int
    latent: tuple[int, int, int]
    keep: Keep
    accumulates: bool


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Further sets of weights on the device: of the whole network, and of what trains."""

    networks: int = 0
    trained: int = 0


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A network with its adapter in place, and how it computes.

    `rest` is what the run has beside it: the autoencoder and the text encoders.
    """

    unet: nn.Module
    family: Family
    dtype: torch.dtype
    rest: tuple[nn.Module, ...]

    def ghost(self) -> Any:
        """Return the network with every weight on the meta device; nothing is copied."""
        own = [*self.unet.parameters(), *self.unet.buffers()]
        memo: dict[int, Any] = {id(value): _empty(value) for value in own}
        return deepcopy(self.unet, memo)


def footprint(
    model: Trained,
    cond: Conditioning,
    work: Worked,
    *,
    copies: Copies,
    optimizer_bytes: float,
    shards: int = 1,
) -> Footprint:
    """Estimate what one process holds.

    The policy's pass is followed. The reference's, an inversion's or a sampler's, which keep no
    activations, need less at as many rows; a feature network (ncp_*), a decoder or a reward that
    is differentiated comes on top and is not counted.

    Args:
        model: the network and what stands beside it.
        cond: the conditioning of one prompt, for the shapes.
        work: how a step goes through its rows.
        copies: what is held besides.
        optimizer_bytes: optimizer state per trainable number.
        shards: processes that share the UNet, its copies, gradients and optimizer state.
    """
    unet = _size(model.unet.parameters())
    trained = list(trainable_parameters(model.unet).values())
    numbers, gradients = sum(value.numel() for value in trained), _size(trained)
    peak = _peak(model, cond, work)
    waiting = gradients // shards
    return Footprint(
        weights=_size(value for net in model.rest for value in net.parameters())
        + ((1 + copies.networks) * unet + copies.trained * gradients) // shards,
        gradients=waiting,
        optimizer=int(numbers * optimizer_bytes) // shards,
        activations=max(0, peak - gradients),
    )


def copies_of(config: RunConfig) -> Copies:
    """Return what a run keeps on the device besides the network that trains."""
    reference = config.reference
    second = reference.kind in ("ema", "moving") and not reference.offload
    return Copies(
        networks=int(reference.kind == "frozen"),
        trained=int(second) + int(config.ema is not None),
    )


def _peak(model: Trained, cond: Conditioning, work: Worked) -> int:
    """Follow a pass forward and backward; return the most it held beyond the weights."""
    ghost = model.ghost().train()
    weights = list(ghost.parameters())
    if work.accumulates:
        for value in weights:
            value.grad = torch.empty_like(value) if value.requires_grad else None
    wider = {value.dtype for value in weights} != {model.dtype}
    half = model.dtype in (torch.float16, torch.bfloat16)
    cuda = AsOnCuda(model.dtype if half and wider else None)
    if work.keep is False:
        ghost.disable_gradient_checkpointing()
    else:
        ghost.enable_gradient_checkpointing(recomputing(work.keep, lambda: cuda))
    told = cast(cond.rows(slice(0, 1)), torch.device("meta"), model.dtype).repeat_rows(work.rows)
    live = Live(weights)
    held = live.now
    for value in weights:
        if value.grad is not None:
            live.add(value.grad)
    steps = torch.zeros(work.rows, dtype=torch.long, device="meta")
    inputs = model.family.inputs(steps, told, scaled_linear(), model.dtype)
    users = user_adapter_of(ghost)
    told_whom = nullcontext() if users is None else users.told(_someone(users, model, work.rows))
    with cuda, live, told_whom:
        predicted = ghost(
            torch.empty((work.rows, *work.latent), device="meta", dtype=model.dtype),
            **inputs,
            return_dict=False,
        )[0]
        cuda.forget()
        # as measured: an error per row, in float32
        torch.autograd.backward(predicted.float().square().mean(dim=(1, 2, 3)).sum())
    return live.peak - held


def _someone(users: UserAdapter, model: Trained, rows: int) -> Tensor:
    """Return a vector per row, without its numbers: only somebody's row teaches the adapter."""
    return torch.empty(rows, 1, users.width, device="meta", dtype=model.dtype)


def _empty(value: Tensor) -> Tensor:
    shape = torch.empty_like(value, device="meta")
    if isinstance(value, nn.Parameter):
        return nn.Parameter(shape, requires_grad=value.requires_grad)
    return shape


def _size(values: Iterable[Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in values)
