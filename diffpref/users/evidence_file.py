"""Kept votes as the tensors of a profile's file."""

from collections.abc import Mapping

import torch
from jaxtyping import UInt8
from torch import Tensor

from diffpref.users.evidence import ID_BYTES, Evidence


def kept(votes: Evidence) -> dict[str, Tensor]:
    """Return votes as named tensors."""
    return {
        "gap": votes.gap.float(),
        "looks": votes.looks.float(),
        "share": votes.share.float(),
        "weight": votes.weight.float(),
        "ids": _bytes([bytes.fromhex(each) for each in votes.ids]),
        "first": _bytes(list(votes.first)),
        "second": _bytes(list(votes.second)),
    }


def evidence_in(tensors: Mapping[str, Tensor]) -> Evidence:
    """Return the votes that `kept` wrote.

    Raises:
        ValueError: their numbers do not fit together.
        KeyError: a tensor is missing.
    """
    names = ("gap", "looks", "share", "weight", "ids", "first", "second")
    if len({len(tensors[name]) for name in names}) > 1:
        raise ValueError("its statistics do not fit together")
    found: dict[str, list[bytes]] = {
        name: [bytes(row.tolist()) for row in tensors[name]] for name in ("ids", "first", "second")
    }
    return Evidence(
        ids=tuple(each.hex() for each in found["ids"]),
        first=tuple(found["first"]),
        second=tuple(found["second"]),
        gap=tensors["gap"],
        looks=tensors["looks"],
        share=tensors["share"],
        weight=tensors["weight"],
    )


def _bytes(rows: list[bytes]) -> UInt8[Tensor, "n b"]:
    flat = torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8) if rows else []
    return torch.as_tensor(flat, dtype=torch.uint8).reshape(len(rows), ID_BYTES)
