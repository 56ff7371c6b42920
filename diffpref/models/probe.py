"""Whether two loads hold the same base, whatever precision or adapters each has.

`fingerprint` hashes bits, so the float32 and the bfloat16 load of one file differ. A probe is a few
hundred single weights at places that their names decide, compared to bfloat16's resolution.
"""

from collections.abc import Iterable
from hashlib import blake2b

import torch
from jaxtyping import Float
from torch import Tensor, nn

COUNT = 256
"""Weights of a probe at most."""

RELATIVE, ABSOLUTE = 2.0**-7, 1e-6
"""Two roundings to bfloat16 apart; and float16's smallest numbers."""


def probe(nets: Iterable[nn.Module]) -> Float[Tensor, " p"]:
    """Return weights of matrices and convolutions, float32; adapters are looked through."""
    named = sorted(
        (f"{index}.{name.replace('.base_layer', '')}", value)
        for index, net in enumerate(nets)
        for name, value in net.named_parameters()
        if value.dim() > 1 and "lora_" not in name
    )
    if not named:
        return torch.zeros(0)
    return torch.stack([_weight(*named[k % len(named)], k) for k in range(COUNT)])


def same(mine: Float[Tensor, " p"], other: Float[Tensor, " q"]) -> bool:
    """Say whether two probes are of the same weights."""
    if mine.shape != other.shape:
        return False
    return bool(torch.isclose(mine, other, rtol=RELATIVE, atol=ABSOLUTE).all())


def _weight(name: str, value: Tensor, number: int) -> Tensor:
    digest = blake2b(f"{name} {tuple(value.shape)} {number}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest) % value.numel()
    return value.detach().reshape(-1)[place].float().cpu()
