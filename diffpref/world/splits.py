"""Train, validation and test, decided once per prompt and per person by a hash of the name."""

from hashlib import blake2b
from typing import Literal

Split = Literal["train", "validation", "test"]


def split_of(name: str) -> Split:
    """Return the split a prompt or person belongs to: 70 % train, 10 % validation, 20 % test."""
    digest = blake2b(f"diffpref-world/{name}".encode(), digest_size=8).digest()
    share = int.from_bytes(digest) / 2**64
    if share < 0.7:
        return "train"
    return "validation" if share < 0.8 else "test"
