"""Networks that wait in main memory while others need the device."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from diffpref.models.bundle import Bundle

HOST = torch.device("cpu")


@contextmanager
def waiting(nets: Iterable[nn.Module]) -> Iterator[None]:
    """Keep networks in main memory for a while; afterwards they are where they were."""
    moved = [(net, _place(net)) for net in nets]
    for net, _ in moved:
        nn.Module.to(net, HOST)
    if any(place != HOST for _, place in moved):
        torch.cuda.empty_cache()
    try:
        yield
    finally:
        for net, place in moved:
            nn.Module.to(net, place)


def beside(bundle: Bundle) -> tuple[nn.Module, ...]:
    """Return what a step on cached data does not need: the autoencoder and the text encoders."""
    return (bundle.vae, *bundle.text.encoders)


@contextmanager
def at_hand(bundle: Bundle) -> Iterator[None]:
    """Have all networks of a bundle where its UNet is, for making pictures in between."""
    moved = [(net, _place(net)) for net in beside(bundle)]
    for net, _ in moved:
        nn.Module.to(net, bundle.device)
    try:
        yield
    finally:
        for net, place in moved:
            nn.Module.to(net, place)


def _place(net: nn.Module) -> torch.device:
    return next(net.parameters()).device
