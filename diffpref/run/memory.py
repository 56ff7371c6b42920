"""What a step will hold in memory: weights, gradients, optimizer state, activations."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffpref.config.schema import RunConfig
from diffpref.models import trainable_parameters
from diffpref.run.peak import Trained, Worked, peak_of
from diffpref.run.updates import wide_gradients
from diffpref.train.optim import FLAT
from diffpref.train.precision import PRECISIONS
from diffpref.types import Conditioning

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
class Copies:
    """Further sets of what trains on the device: a reference's, an average's."""

    trained: int = 0


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


def _size(values: Iterable[Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in values)
