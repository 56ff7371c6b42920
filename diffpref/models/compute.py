"""How a network's arithmetic is carried out: its memory layout, its blocks compiled."""

import os
import shutil
from importlib import import_module
from logging import getLogger
from typing import Any

import torch
from torch import nn

BLOCKS = ("BasicTransformerBlock", "ResnetBlock2D")
"""Class names of what is compiled by itself: most of a UNet's arithmetic, in few kinds. diffusers'
own list has the first only."""

GRAPHS = 128
"""Graphs a kind of block may have: a UNet's widths and sides, with and without gradient and
adapters. torch would stop at 8 and run the rest uncompiled."""

OLDEST = (7, 0)
"""Compute capability of the oldest cards Triton knows."""

log = getLogger(__name__)


def set_channels_last(net: nn.Module, wanted: bool) -> None:
    """Lay 4-d weights out with channels last, or as usual; what convolutions give follows them."""
    layout = torch.channels_last if wanted else torch.contiguous_format
    nn.Module.to(net, memory_format=layout)


def set_compiled(net: nn.Module, device: torch.device, *, backend: str = "inductor") -> bool:
    """Compile the blocks of a UNet in place; names of weights stay.

    Blocks of one kind and shape share a graph. Passes without gradient have graphs of their own,
    and so do transformer blocks whose LoRA is switched off; nothing is compiled again when it is
    switched back. One graph for both, with the LoRA multiplied by 0 or 1, was counted and not
    built: it saves a graph per kind of transformer block, and only where the policy too is
    measured without gradient, for the LoRA's arithmetic in every pass of the reference. Gradient
    checkpointing goes around a block, so that compiled code is what is repeated.

    Args:
        net: the UNet, its adapter in place.
        device: where it computes.
        backend: who compiles, one of torch's.

    Returns:
        Whether it could be done; else a warning was logged and blocks run as they are.
    """
    missing = _missing(device)
    if missing is not None:
        log.warning("model.compile_blocks: %s; blocks run uncompiled", missing)
        return False
    dynamo: Any = import_module("torch._dynamo.config")
    dynamo.recompile_limit = max(dynamo.recompile_limit, GRAPHS)
    for module in net.modules():
        if type(module).__name__ in BLOCKS:
            module.compile(backend=backend, dynamic=False)
    return True


def _missing(device: torch.device) -> str | None:
    """Return what compiling lacks on a device."""
    if device.type == "cuda":
        old = torch.cuda.get_device_capability(device) < OLDEST
        return "this card is older than Triton knows" if old else None
    if device.type != "cpu":
        return f"{device.type} is not compiled for"
    compilers = (os.environ.get("CXX", "g++"), "g++", "clang++")
    found = any(shutil.which(name) for name in compilers)
    return None if found else "there is no C++ compiler"
