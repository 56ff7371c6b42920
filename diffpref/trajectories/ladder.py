"""The levels an inversion climbs from a clean image to the step it is trained at."""

from dataclasses import dataclass
from math import ceil

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from diffpref.types import Steps


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Rungs per row, [n rungs]; a row that has arrived is not active on the rest.

    Attributes:
        source: level x is at before a rung; -1 is clean.
        target: level x is at after it.
        active: whether the row takes this rung.
    """

    source: Int[Tensor, "n rungs"]
    target: Int[Tensor, "n rungs"]
    active: Bool[Tensor, "n rungs"]


def exact_ladder(t: Steps, *, steps: int, length: int) -> Ladder:
    """Return rungs of ceil(length / steps) levels that end exactly at t.

    The first rung, which leaves the clean level, is shortened.
    """
    stride = ceil(length / steps)
    count = (t + stride) // stride
    rung = torch.arange(int(count.max()), device=t.device)
    left = count[:, None] - rung
    source = torch.where(rung == 0, -1, t[:, None] - left * stride)
    target = t[:, None] - (left - 1) * stride
    return Ladder(source=source, target=target, active=left > 0)


def released_ladder(t: Steps, *, steps: int, length: int) -> Ladder:
    """Return the rungs of the released InPO and SmPO scripts under the diffusers they pin (0.20).

    The grid is {1 - stride, 1, 1 + stride ...}; every grid point below t is climbed, so that x
    ends at the next grid level at or above t, or below it for the largest t.
    """
    stride = length // steps
    grid = 1 - stride + stride * torch.arange(steps, device=t.device)
    # Rungs that no row climbs are left out: networks cannot take a batch of nothing.
    source = grid[grid < t.max()].expand(len(t), -1)
    return Ladder(source=source, target=source + stride, active=source < t[:, None])
