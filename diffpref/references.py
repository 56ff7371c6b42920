"""What the policy is compared with: nothing, a copy, itself without adapters or users, its past.

These are rules over denoisers and parameter dictionaries. Copying a network and switching an
adapter off belong to `models`, which injects them.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
    at_hand: makes a context for many calls of `net`, in which its weights need not be fetched for
        each. The policy must not be called inside.
    """

    net: Denoiser | None
    after_step: Callable[[int], None] = _stay
    state: Mapping[str, Tensor] = {}
    report: Callable[[], Mapping[str, float]] = _nothing
    at_hand: Switch = nullcontext


def none() -> Reference:
    """Compare with nothing."""
    return Reference(net=None)


def frozen(net: Denoiser, *, at_hand: Switch = nullcontext) -> Reference:
    """Compare with the network the run started from, which never moves; see `Reference`."""
    return Reference(net=_without_grad(net), at_hand=at_hand)


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

    return Reference(net=_without_grad(net), after_step=after_step, state=own, at_hand=at_hand)


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


def copies(
    live: Mapping[str, Tensor],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Return detached copies of parameters, by default where and as precise as they are.

    Copies in main memory of what is on a GPU are pinned, so that they are fetched at full speed.
    """

    def copied(tensor: Tensor) -> Tensor:
        found = tensor.detach().to(device=device, dtype=dtype, copy=True)
        return found.pin_memory() if tensor.is_cuda and not found.is_cuda else found

    return {name: copied(tensor) for name, tensor in live.items()}


def loan(
    own: Mapping[str, Tensor], live: Mapping[str, Tensor], *, in_place: bool = False
) -> Switch:
    """Return what makes a context with `own` in place of the `live` parameters.

    Contexts may be nested: only the outermost does something.

    Args:
        own: what is lent.
        live: the parameters it stands in for, under the same names.
        in_place: values are exchanged, one parameter at a time, and the live ones wait beside
            `own`: when `own` is in main memory the device holds one set. Else the parameters point
            at `own` for a while, which moves nothing where both are on one device.
    """
    inside = [0]

    @contextmanager
    def lent() -> Generator[None]:
        kept: dict[str, Tensor] = {}
        inside[0] += 1
        try:
            if inside[0] == 1:
                (_exchange if in_place else _point)(own, live, kept)
            yield
        finally:
            inside[0] -= 1
            for name, value in kept.items():
                if in_place:
                    live[name].data.copy_(value, non_blocking=True)
                else:
                    live[name].data = value

    return lent


def borrowed(policy: Denoiser, lent: Switch) -> Denoiser:
    """Return the policy's network with other weights in place of its own for each call.

    With an adapter's parameters this is a second adapter on one network: no second copy of the
    base is held. Must not be called between the policy's forward and its backward.

    Args:
        policy: the network.
        lent: from `loan`; entered around many calls it moves weights once.
    """

    def net(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        with lent():
            return policy(x_t, t, cond)

    return net


def _point(own: Mapping[str, Tensor], live: Mapping[str, Tensor], kept: dict[str, Tensor]) -> None:
    for name, parameter in live.items():
        kept[name] = parameter.data
        parameter.data = own[name].to(parameter)


def _exchange(
    own: Mapping[str, Tensor], live: Mapping[str, Tensor], kept: dict[str, Tensor]
) -> None:
    for name, parameter in live.items():
        there = own[name]
        pinned = parameter.is_cuda and not there.is_cuda
        waiting = torch.empty(
            parameter.shape, dtype=parameter.dtype, device=there.device, pin_memory=pinned
        )
        kept[name] = waiting.copy_(parameter.data, non_blocking=pinned)
        parameter.data.copy_(there, non_blocking=pinned)


def _without_grad(net: Denoiser) -> Denoiser:
    @torch.no_grad()
    def quiet(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        return net(x_t, t, cond)

    return quiet
