"""References that never move."""

from contextlib import nullcontext

from diffpref.references.reference import Reference, Switch, without_grad
from diffpref.types import Conditioning, Denoiser, Latents, Steps


def none() -> Reference:
    """Compare with nothing."""
    return Reference(net=None)


def frozen(net: Denoiser, *, at_hand: Switch = nullcontext) -> Reference:
    """Compare with the network the run started from, which never moves; see `Reference`."""
    return Reference(net=without_grad(net), at_hand=at_hand)


def adapters_off(policy: Denoiser, off: Switch) -> Reference:
    """Compare with the policy's own network, its adapters switched off by `off` for the call."""

    def net(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        with off():
            return policy(x_t, t, cond)

    return Reference(net=without_grad(net))


def gate_off(policy: Denoiser) -> Reference:
    """Compare with the policy's own network when it is told of no user: a gate of 0."""

    def net(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        return policy(x_t, t, cond.nobodys())

    return Reference(net=without_grad(net))
