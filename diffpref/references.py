"""What the policy is compared with: nothing, a copy, itself without adapters or users, its past.

These are rules over denoisers and parameter dictionaries. Copying a network and switching an
adapter off belong to `models`, which injects them.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, NamedTuple

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
    """

    net: Denoiser | None
    after_step: Callable[[int], None] = _stay
    state: Mapping[str, Tensor] = {}
    report: Callable[[], Mapping[str, float]] = _nothing


def none() -> Reference:
    """Compare with nothing."""
    return Reference(net=None)


def frozen(net: Denoiser) -> Reference:
    """Compare with a copy of the network the run started from, which never moves."""
    return Reference(net=_without_grad(net))


def adapters_off(policy: Denoiser, off: Switch) -> Reference:
    """Compare with the policy's own network, its adapters switched off by `off` for the call."""

    def net(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        with off():
            return policy(x_t, t, cond)

    return Reference(net=_without_grad(net))


def gate_off(policy: Denoiser) -> Reference:
    """Compare with the policy's own network when it is told of no user: a gate of 0."""

    def net(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        return policy(x_t, t, cond.nobodys())

    return Reference(net=_without_grad(net))


def ema(
    net: Denoiser,
    *,
    own: Mapping[str, Tensor],
    live: Mapping[str, Tensor],
    decay: float,
    refresh_every: int = 1,
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

    return Reference(net=_without_grad(net), after_step=after_step, state=own)


def refreshed(
    net: Denoiser,
    *,
    own: Mapping[str, Tensor],
    live: Mapping[str, Tensor],
    refresh_every: int,
) -> Reference:
    """Compare with a frozen copy that becomes the policy every `refresh_every` steps."""
    return ema(net, own=own, live=live, decay=0.0, refresh_every=refresh_every)


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

    Returns:
        A reference whose `state` is `own` and whether the budget is spent.

    Raises:
        ValueError: refresh_every, budget or the names do not fit.
    """
    if not budget > 0:
        raise ValueError(f"reference.budget must be above 0, got {budget}")
    follow = refreshed(net, own=own, live=live, refresh_every=refresh_every)
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
        net=follow.net, after_step=after_step, state={**own, SPENT: spent}, report=report
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
    return Reference(
        net=reference.net,
        after_step=after_step,
        state={**reference.state, **own},
        report=lambda: {**reference.report(), **sampler.report()},
    )


def copies(
    live: Mapping[str, Tensor],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Return detached copies of parameters, by default where and as precise as they are."""
    return {
        name: tensor.detach().to(device=device, dtype=dtype, copy=True)
        for name, tensor in live.items()
    }


def borrowed(
    policy: Denoiser, *, own: Mapping[str, Tensor], live: Mapping[str, Tensor]
) -> Denoiser:
    """Return the policy's network with `own` in place of its `live` parameters for each call.

    With an adapter's parameters this is a second adapter on one network: no second copy of the
    base is held. Must not be called between the policy's forward and its backward.
    """

    def net(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        with _lent(own, live):
            return policy(x_t, t, cond)

    return net


@contextmanager
def _lent(own: Mapping[str, Tensor], live: Mapping[str, Tensor]) -> Generator[None]:
    kept = {name: parameter.data for name, parameter in live.items()}
    try:
        for name, parameter in live.items():
            parameter.data = own[name].to(parameter)
        yield
    finally:
        for name, parameter in live.items():
            parameter.data = kept[name]


def _without_grad(net: Denoiser) -> Denoiser:
    @torch.no_grad()
    def quiet(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        return net(x_t, t, cond)

    return quiet
