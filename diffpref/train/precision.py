"""How trainable weights of 16 bits keep what an update changes below their last bit.

An update of Diffusion-DPO is smaller than half the last bit of most bfloat16 weights, so that
rounding to the nearest drops it. The update itself is made in float32 in every case: the weight is
widened, updated and kept again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from diffpref.draws import dither

HALF, LOW = 1 << 15, (1 << 16) - 1
"""Half of the last bit bfloat16 has of a float32, and the bits it has not."""

Beside = dict[str, Tensor]
"""What a weight has beside it, in a checkpoint too."""


@dataclass(frozen=True, kw_only=True)
class Precision:
    """A way to keep weights.

    Attributes:
        narrow: whether weights have 16 bits.
        bytes_beside: bytes kept beside each number.
        start: weight -> what it has beside it, at first.
        wide: (weight, beside) -> the weight in float32.
        keep: (float32 weight, weight, beside, key of random bits), in place.
    """

    narrow: bool
    bytes_beside: int
    start: Callable[[Tensor], Beside]
    wide: Callable[[Tensor, Beside], Tensor]
    keep: Callable[[Tensor, Tensor, Beside, tuple[int, str]], None]


def _nothing(weight: Tensor) -> Beside:
    del weight
    return {}


def _itself(weight: Tensor, beside: Beside) -> Tensor:
    """Return the weight in at least float32; what has that already is not copied."""
    del beside
    return weight.detach().to(torch.promote_types(weight.dtype, torch.float32))


def _left(wide: Tensor, weight: Tensor, beside: Beside, key: tuple[int, str]) -> None:
    """Leave a weight that was updated in its own place; its other shape may have been a copy."""
    del beside, key
    if wide.data_ptr() != weight.data_ptr():
        weight.copy_(wide)


def _counted(weight: Tensor) -> Beside:
    del weight
    return {"rounds": torch.zeros((), dtype=torch.int64)}


def _rounded(wide: Tensor, weight: Tensor, beside: Beside, key: tuple[int, str]) -> None:
    r"""Round up or down at random, with E[kept] = wide.

    Uniform bits are added below bfloat16's last and then cut off: up has the probability of the
    distance from below over the distance of the neighbours. NaN and infinities stay as they are.
    """
    seed, name = key
    bits = dither(seed, int(beside["rounds"]), name, wide)
    beside["rounds"] += 1
    cut = ((wide.view(torch.int32) + bits) & ~LOW).view(torch.float32)
    weight.copy_(torch.where(wide.isfinite(), cut, wide))


def _compensation(weight: Tensor) -> Beside:
    return {"compensation": torch.zeros_like(weight)}


def _compensated(weight: Tensor, beside: Beside) -> Tensor:
    return weight.detach().float() + beside["compensation"].float()


def _compensate(wide: Tensor, weight: Tensor, beside: Beside, key: tuple[int, str]) -> None:
    """Keep what rounding dropped in 16 bits of its own: some 16 bits of mantissa together."""
    del key
    weight.copy_(wide)
    beside["compensation"].copy_(wide - weight.float())


def _remainder(weight: Tensor) -> Beside:
    return {"remainder": torch.zeros_like(weight, dtype=torch.int16)}


def _joined(weight: Tensor, beside: Beside) -> Tensor:
    bits = weight.detach().float().view(torch.int32) + beside["remainder"].int()
    return bits.view(torch.float32)


def _split(wide: Tensor, weight: Tensor, beside: Beside, key: tuple[int, str]) -> None:
    """Keep the nearest bfloat16 (ties away from zero) and the difference of the bit patterns."""
    del key
    bits = wide.contiguous().view(torch.int32)
    high = (bits + HALF) & ~LOW
    weight.copy_(high.view(torch.float32))
    beside["remainder"].copy_(bits - high)


PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        "fp32": Precision(narrow=False, bytes_beside=0, start=_nothing, wide=_itself, keep=_left),
        "stochastic": Precision(
            narrow=True, bytes_beside=0, start=_counted, wide=_itself, keep=_rounded
        ),
        "kahan": Precision(
            narrow=True, bytes_beside=2, start=_compensation, wide=_compensated, keep=_compensate
        ),
        "split": Precision(
            narrow=True, bytes_beside=2, start=_remainder, wide=_joined, keep=_split
        ),
    }
)
"""fp32: weights in at least float32. The others are of 16 bits: stochastic rounds at random, exact
on average; kahan keeps what rounding drops in 16 bits more; split keeps all 32 bits in two halves,
and is bit for bit what fp32 weights would be."""
