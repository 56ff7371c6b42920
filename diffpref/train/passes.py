"""Rows in passes that fit, and what may be measured apart."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch

from diffpref.types import Conditioning, Denoiser, Latents, Nets, Steps

AHEAD = 4
"""Passes without gradient hold this many times the rows of one with: an SDXL image of the former
needs a quarter of the latter's memory, its blocks recomputed (docs/benchmarks/log.md)."""


@runtime_checkable
class Apart(Protocol):
    """An objective that says whether `compare` looks at one prompt at a time, also on a process.

    If so the gradient of a prompt's measurements is known without the other prompts'.
    """

    @property
    def prompts_apart(self) -> bool: ...


def measures_twice(objective: object, *, rows: int, prompts: int, size: int) -> bool:
    """Tell whether the policy is measured without a graph first, and again with one.

    It is unless a pass's gradient is known from the pass: it holds all rows, or whole prompts that
    do not meet in the loss.

    Args:
        objective: the method.
        rows: of a window.
        prompts: of a window.
        size: rows of a pass.
    """
    if size >= rows:
        return False
    whole = size % (rows // prompts) == 0
    return not (whole and isinstance(objective, Apart) and objective.prompts_apart)


def slices(rows: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def in_passes(nets: Nets, rows: int | None) -> Nets:
    """Return the networks, run on at most `rows` rows at once; None is no limit."""
    if rows is None:
        return nets
    return Nets(*(net if net is None else _sliced(net, rows) for net in nets))  # pyright: ignore[reportArgumentType]


def _sliced(net: Denoiser, rows: int) -> Denoiser:
    def sliced(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        if len(x_t) <= rows:
            return net(x_t, t, cond)
        parts = (net(x_t[s], t[s], cond.rows(s)) for s in slices(len(x_t), rows))
        return torch.cat(list(parts))

    return sliced
