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
from diffpref.run.updates import wide_gradients
from diffpref.schedule import scaled_linear
from diffpref.train.optim import FLAT
from diffpref.train.precision import PRECISIONS
from diffpref.types import Conditioning, cast

OPTIMIZER_BYTES = {"adamw": 8.0, "adamw8bit": 2.0}
"""State bytes per trainable number, where it does not depend on shapes."""

MATRIX = 2


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
    accumulates: whether gradients of earlier passes wait while a pass is made. wide: whether
    gradients are in float32 whatever the weights are in. in_backward: whether gradients are used
    and let go at once.
    """

    rows: int
    latent: tuple[int, int, int]
    keep: Keep
    accumulates: bool
    wide: bool = False
    in_backward: bool = False


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Further sets of what trains on the device: a reference's, an average's."""

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
    peak: int | None = None,
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
        peak: from `peak_of` for the same network and work, if it is known.
    """
    unet = _size(model.unet.parameters())
    trained = list(trainable_parameters(model.unet).values())
    numbers, gradients = sum(value.numel() for value in trained), _size(trained)
    peak = peak_of(model, cond, work) if peak is None else peak
    waiting = 4 * numbers if work.wide else 0 if work.in_backward else gradients
    return Footprint(
        weights=_size(value for net in model.rest for value in net.parameters())
        + (unet + copies.trained * gradients) // shards,
        gradients=waiting // shards,
        optimizer=int(numbers * optimizer_bytes) // shards,
        activations=max(0, peak - waiting),
    )


def state_bytes(config: RunConfig, unet: nn.Module) -> float:
    """Return bytes of optimizer state per number that trains, what precision adds included.

    Adafactor keeps, in float32, one row and one column of the last two dimensions; flat, of the
    matrix a convolution is. A bias has a number for each of its own.
    """
    name = config.optimizer.name
    beside = PRECISIONS[config.adapter.precision].bytes_beside
    if name in OPTIMIZER_BYTES:
        return OPTIMIZER_BYTES[name] + beside
    trained = [value.shape for value in trainable_parameters(unet).values()]
    kept = sum(_factors(shape, flat=name in FLAT) for shape in trained)
    return 4 * kept / max(1, sum(shape.numel() for shape in trained)) + beside


def _factors(shape: torch.Size, *, flat: bool) -> int:
    """Return the numbers Adafactor keeps for a weight."""
    if len(shape) < MATRIX:
        return shape.numel()
    if flat:
        return shape[0] + shape[1:].numel()
    return shape[:-1].numel() + shape[:-2].numel() * shape[-1]


def worked(config: RunConfig, *, latent: tuple[int, int, int], rows: int, held: int) -> Worked:
    """Return how a run goes through its rows.

    Args:
        config: whose checkpointing is decided.
        latent: c, h, w.
        rows: of a pass.
        held: of a micro-batch.
    """
    keep = config.model.gradient_checkpointing
    return Worked(
        rows=rows,
        latent=latent,
        keep=False if keep == "auto" else keep,
        accumulates=config.loop.micro_batches > 1 or rows < held,
        wide=wide_gradients(config),
        in_backward=config.optimizer.in_backward,
    )


def copies_of(config: RunConfig) -> Copies:
    """Return what a run keeps on the device besides the network that trains."""
    reference = config.reference
    second = reference.kind in ("frozen", "ema", "moving") and not reference.offload
    return Copies(trained=int(second) + int(config.ema is not None))


def peak_of(model: Trained, cond: Conditioning, work: Worked) -> int:
    """Follow a pass forward and backward; return the most it held beyond the weights."""
    ghost = model.ghost().train()
    weights = list(ghost.parameters())
    for value in weights:
        if value.requires_grad:
            _prepare(value, work)
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


def _prepare(value: Tensor, work: Worked) -> None:
    """Give a weight the gradient that waits for more, or let go what comes."""
    if work.wide:
        value.grad_dtype = torch.float32
    if work.accumulates:
        value.grad = torch.empty_like(value, dtype=torch.float32 if work.wide else value.dtype)
    if work.in_backward:
        value.register_post_accumulate_grad_hook(_let_go)


def _let_go(value: Tensor) -> None:
    value.grad = None


def _empty(value: Tensor) -> Tensor:
    shape = torch.empty_like(value, device="meta")
    if isinstance(value, nn.Parameter):
        return nn.Parameter(shape, requires_grad=value.requires_grad)
    return shape


def _size(values: Iterable[Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in values)
