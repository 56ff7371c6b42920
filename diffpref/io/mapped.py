"""Files mapped into memory: a page is read when it is touched, and processes share it."""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref.io.codes import BadText, TextCode
from diffpref.io.text import parse_json

WORD = 8
"""Bytes of the length that a safetensors file begins with."""

KINDS: Mapping[str, torch.dtype] = {
    "U8": torch.uint8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a tensor lies in a file: its first byte, its kind and its shape."""

    start: int
    kind: str
    shape: tuple[int, ...]


class Mapped:
    """A file that is not empty, mapped for reading. What is cut from it stays valid without it."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as stream:
            # a private copy of pages that are written, which none is: torch warns of others
            self._pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)

    def __len__(self) -> int:
        return len(self._pages)

    def bytes(self, start: int, stop: int) -> bytes:
        return self._pages[start:stop]

    def tensor(self, place: Place) -> Tensor:
        """Return a tensor over the file's pages; do not write to it.

        Raises:
            ValueError: the file ends before the tensor does, or its kind is none of `KINDS`.
        """
        dtype, count = KINDS.get(place.kind), prod(place.shape)
        if dtype is None or place.start < 0:
            raise ValueError(f"there is no tensor of kind {place.kind} at {place.start}")
        if count == 0:
            return torch.zeros(place.shape, dtype=dtype)
        flat = torch.frombuffer(self._pages, dtype=dtype, count=count, offset=place.start)
        return flat.view(place.shape)

    def places(self) -> tuple[dict[str, Place], dict[str, str]]:
        """Return the tensors and the metadata that the header of a safetensors file names.

        Raises:
            BadText: the header is none.
        """
        size = int.from_bytes(self.bytes(0, WORD), "little")
        header: Any = parse_json(self.bytes(WORD, WORD + size))
        try:
            told = header.pop("__metadata__", {})
            return {
                str(name): Place(
                    start=WORD + size + int(each["data_offsets"][0]),
                    kind=str(each["dtype"]),
                    shape=tuple(map(int, each["shape"])),
                )
                for name, each in header.items()
            }, {str(name): str(value) for name, value in told.items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadText(TextCode.NOT_OBJECT, "the header names no places") from error
