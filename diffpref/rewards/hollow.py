"""Large networks: built without memory, filled once, moved without touching their positions."""

from collections.abc import Callable
from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

from diffpref.rewards.state import State, WeightsMismatchError, mismatch

Net = TypeVar("Net", bound=nn.Module)


def hollow(build: Callable[[], Net]) -> Net:
    """Return a network whose parameters take no memory yet; its buffers are real."""
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        return build()


def pour(
    net: Net, state: State, *, dtype: torch.dtype, where: str, layout: str, prefix: str = ""
) -> Net:
    """Fill a hollow network with weights of the precision asked for, and freeze it.

    Weights that already have that precision are not copied.

    Args:
        net: the network.
        state: its weights.
        dtype: precision.
        where: the file, for messages.
        layout: what the weights were read as, for messages.
        prefix: what the names have before them in the file, for messages.

    Raises:
        WeightsMismatchError: names or shapes differ from the network's.
    """
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    missing, unexpected = sorted(shapes.keys() - state.keys()), sorted(state.keys() - shapes.keys())
    hint = "give the whole model, with the config.json that belongs to it"
    if missing or unexpected:
        told = ([prefix + name for name in names] for names in (missing, unexpected))
        raise mismatch(where, layout, *told, hint=hint)
    for name, shape in shapes.items():
        if tuple(state[name].shape) != shape:
            what = f"{prefix}{name} is {tuple(state[name].shape)}, where {shape} is needed"
            raise WeightsMismatchError(what, where=where, hint=hint)
    cast = {n: v.to(dtype) if v.is_floating_point() else v for n, v in state.items()}
    net.load_state_dict(cast, assign=True)
    return net.eval().requires_grad_(False)


def moved(net: Net, device: torch.device | None, dtype: torch.dtype | None) -> Net:
    """Return a copy elsewhere, its parameters in another precision; None keeps what is.

    Buffers keep theirs: rotary frequencies rounded to 16 bits shift positions by whole radians.
    """
    copy = deepcopy(net).to(device=device)
    if dtype is not None:
        for weight in copy.parameters():
            weight.data = weight.data.to(dtype)
    return copy
