"""What is done to a whole network's weights: freezing, copies, casts, hashes."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from hashlib import blake2b
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def freeze(net: Network) -> Network:
    """Stop training every parameter; returns the network."""
    return net.requires_grad_(False).eval()


def frozen_copy(net: Network) -> Network:
    """Return a copy that shares nothing with the network and does not train."""
    return freeze(deepcopy(net))


def cast_weights(net: Network, dtype: torch.dtype) -> Network:
    """Change the precision of every weight in place; returns the network."""
    nn.Module.to(net, dtype)  # diffusers' own `to` remarks on every call
    return net


def fingerprint(nets: Iterable[nn.Module]) -> str:
    """Return a hash of the names, shapes, dtypes and bits of all weights."""
    named = [
        (f"{index}.{name}", tensor)
        for index, net in enumerate(nets)
        for name, tensor in sorted(net.state_dict().items())
    ]
    with ThreadPoolExecutor(max_workers=4) as pool:  # hashing releases the interpreter's lock
        digests = pool.map(_digest, named)
        total = blake2b(digest_size=16)
        for digest in digests:
            total.update(digest)
    return total.hexdigest()


def _digest(named: tuple[str, Tensor]) -> bytes:
    name, tensor = named
    flat = tensor.detach().cpu().contiguous()
    head = f"{name} {tuple(flat.shape)} {flat.dtype} ".encode()
    bits = flat.reshape(-1).view(torch.uint8).numpy()
    total = blake2b(head, digest_size=16)
    total.update(bits.data)
    return total.digest()
