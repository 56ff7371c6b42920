"""References that follow the policy: a running average, a refreshed copy, one with a budget."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor

from diffpref.references.lending import copies
from diffpref.references.reference import Reference, Switch, without_grad
from diffpref.types import Denoiser


def ema(
    net: Denoiser,
    *,
    own: Mapping[str, Tensor],
    live: Mapping[str, Tensor],
    decay: float,
    refresh_every: int = 1,
    at_hand: Switch = nullcontext,
) -> Reference:
    """Compare with a running average of the policy; decay 0 is a hard copy.

    Equation:
        own <- decay * own + (1 - decay) * live, every `refresh_every` optimizer steps

    Args:
        net: a network whose weights are `own`: a copy, or `borrowed`.
        own: the reference's parameters, changed in place.
        live: the policy's parameters under the same names.
        decay: share of the old average kept, at least 0 and below 1.
        refresh_every: optimizer steps between updates.
        at_hand: see `Reference`.

    Returns:
        A reference whose `state` is `own`.

    Units:
        Averaged in at least float32 and stored in own's dtype and on own's device; bfloat16
        storage loses updates when decay is above about 0.99.

    Raises:
        ValueError: decay, refresh_every or the names do not fit.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"reference.decay must be at least 0 and below 1, got {decay}")
    if refresh_every < 1:
        raise ValueError(f"reference.refresh_every must be at least 1, got {refresh_every}")
    if own.keys() != live.keys():
        odd = sorted(own.keys() ^ live.keys())[0]
        raise ValueError(f"reference and policy have different parameters: {odd}")

    @torch.no_grad()
    def after_step(step: int) -> None:
        if step % refresh_every:
            return
        for name, old in own.items():
            new = live[name].detach().to(old.device)
            work = torch.promote_types(old.dtype, torch.float32)
            old.copy_(torch.lerp(new.to(work), old.to(work), decay))

    return Reference(net=without_grad(net), after_step=after_step, state=own, at_hand=at_hand)


def refreshed(
    net: Denoiser,
    *,
    own: Mapping[str, Tensor],
    live: Mapping[str, Tensor],
    refresh_every: int,
    at_hand: Switch = nullcontext,
) -> Reference:
    """Compare with a frozen copy that becomes the policy every `refresh_every` steps."""
    return ema(net, own=own, live=live, decay=0.0, refresh_every=refresh_every, at_hand=at_hand)


SPENT = "budget.spent"
"""Name of the flag in a budgeted reference's state; no parameter is called so."""


def budgeted(
    net: Denoiser,
    *,
    own: Mapping[str, Tensor],
    live: Mapping[str, Tensor],
    refresh_every: int,
    divergence: Callable[[], float],
    budget: float,
    beyond: Literal["freeze", "restart"] = "freeze",
    at_hand: Switch = nullcontext,
) -> Reference:
    """Compare with a copy that follows the policy while it stays near the start.

    Every `refresh_every` steps the policy is measured first: within the budget it becomes the
    reference; beyond it the reference stays as it is for good (freeze), or goes back to the start
    and may follow again (restart). 2505.18736, eqs. 7-8; the paper leaves open whether the copy
    that first exceeds the budget is kept: here it is not made.

    Args:
        net: a network whose weights are `own`: a copy, or `borrowed`.
        own: the reference's parameters, changed in place; at first those of the start.
        live: the policy's parameters under the same names.
        refresh_every: optimizer steps between measurements.
        divergence: how far the policy is from the start now.
        budget: the largest divergence at which the policy is copied.
        beyond: what happens past it.
        at_hand: see `Reference`.

    Returns:
        A reference whose `state` is `own` and whether the budget is spent.

    Raises:
        ValueError: refresh_every, budget or the names do not fit.
    """
    if not budget > 0:
        raise ValueError(f"reference.budget must be above 0, got {budget}")
    follow = refreshed(net, own=own, live=live, refresh_every=refresh_every, at_hand=at_hand)
    start = copies(own, device="cpu") if beyond == "restart" else {}
    spent, last = torch.zeros(()), [0.0]

    @torch.no_grad()
    def after_step(step: int) -> None:
        if step % refresh_every or bool(spent):
            return
        last[0] = divergence()
        if last[0] <= budget:
            follow.after_step(step)
        elif beyond == "freeze":
            spent.fill_(1)
        else:
            for name, value in start.items():
                own[name].copy_(value)

    def report() -> Mapping[str, float]:
        return {"reference_divergence": last[0], "reference_frozen": float(spent)}

    return Reference(
        net=follow.net,
        after_step=after_step,
        state={**own, SPENT: spent},
        report=report,
        at_hand=at_hand,
    )


SAMPLER = "sampler."
"""Prefix of a sampling network's tensors in a checkpoint."""


def together(reference: Reference, sampler: Reference) -> Reference:
    """Return the reference that also carries the network that samples, so that both follow.

    `net`, and the reports of both, are the reference's; the sampler's tensors are kept under names
    that begin with `sampler.`.
    """

    def after_step(step: int) -> None:
        reference.after_step(step)
        sampler.after_step(step)

    own = {f"{SAMPLER}{name}": tensor for name, tensor in sampler.state.items()}
    return reference._replace(
        after_step=after_step,
        state={**reference.state, **own},
        report=lambda: {**reference.report(), **sampler.report()},
    )
