"""A reference network and how it follows the policy."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from diffpref.types import Conditioning, Denoiser, Latents, Steps

Switch = Callable[[], AbstractContextManager[object]]


def _stay(step: int) -> None:
    del step


def _nothing() -> Mapping[str, float]:
    return {}


class Reference(NamedTuple):
    """A reference network and how it follows the policy.

    net: called without gradient; None for reference-free methods.
    after_step: called with the number of finished optimizer steps, so that it keeps no counter.
    state: tensors a checkpoint keeps and restores in place; empty if the start determines them.
    report: numbers worth logging, as they are now.
    at_hand: makes a context for many calls of `net`, in which its weights need not be fetched for
        each. The policy must not be called inside.
    """

    net: Denoiser | None
    after_step: Callable[[int], None] = _stay
    state: Mapping[str, Tensor] = {}
    report: Callable[[], Mapping[str, float]] = _nothing
    at_hand: Switch = nullcontext


def without_grad(net: Denoiser) -> Denoiser:
    """Return the network, never giving a gradient."""

    @torch.no_grad()
    def quiet(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        return net(x_t, t, cond)

    return quiet
