"""Other weights in the policy's own network for a while, and the copies that are lent."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from diffpref.references.reference import Switch
from diffpref.types import Conditioning, Denoiser, Latents, Steps


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
