"""Where the entries of a shelf lie: columns in which an id is looked up, mapped from a file.

A process that reads a shelf of a million entries this way holds none of their names.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from diffpref.data.rows import damaged
from diffpref.data.shelf import Shelf
from diffpref.io import BadText
from diffpref.io.mapped import Mapped, Place

MOST_OPEN = 1024
"""Shards that are mapped at once; systems allow a process some 65,000 maps."""

Columns = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Places:
    """A shelf to read from.

    ids: ascending, as bytes. shard, numbers, start, kind: of each; `start` and `kind` have a column
    for each of `parts`, and a kind of -1 where an entry has no such part. files: of the shards.
    kinds: what a tensor can be.
    """

    folder: Path
    ids: UInt8[Tensor, "n width"] = field(repr=False)
    shard: Tensor = field(repr=False)
    numbers_of: Tensor = field(repr=False)
    start: Tensor = field(repr=False)
    kind: Tensor = field(repr=False)
    files: tuple[str, ...] = field(repr=False)
    parts: tuple[str, ...]
    kinds: tuple[tuple[str, tuple[int, ...]], ...]
    _open: "OrderedDict[str, Mapped]" = field(default_factory=OrderedDict, repr=False)

    def __contains__(self, entry: str) -> bool:
        return self._row(entry) is not None

    def __len__(self) -> int:
        return len(self.ids)

    def numbers(self, entry: str) -> tuple[int, ...]:
        return tuple(self.numbers_of[self._found(entry)].tolist())

    def read(self, entry: str, name: str) -> Tensor:
        """Return one tensor, mapped from its file."""
        row, part = self._found(entry), self.parts.index(name)
        kind = int(self.kind[row, part])
        if kind < 0:
            raise KeyError(f"{entry}.{name}")
        of, shape = self.kinds[kind]
        place = Place(start=int(self.start[row, part]), kind=of, shape=shape)
        return self._shard(self.files[int(self.shard[row])]).tensor(place)

    @cached_property
    def _ids(self) -> NDArray[Any]:
        return self.ids.numpy().view(f"S{self.ids.shape[1]}")[:, 0]

    def _row(self, entry: str) -> int | None:
        wanted, ids = entry.encode(), self._ids
        row = int(np.searchsorted(ids, wanted))
        return row if row < len(ids) and ids[row] == wanted else None

    def _found(self, entry: str) -> int:
        row = self._row(entry)
        if row is None:
            raise KeyError(entry)
        return row

    def _shard(self, name: str) -> Mapped:
        if name not in self._open:
            self._open[name] = Mapped(self.folder / name)
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return self._open[name]


def columns_of(shelf: Shelf, entries: Iterable[str]) -> tuple[Columns, Mapping[str, Any]]:
    """Return the columns of these entries of a shelf, and what else `places_of` needs; JSON.

    Raises:
        DataError: a shard's header is damaged.
    """
    names = sorted(entries)
    at: dict[Path, list[int]] = {}
    for row, name in enumerate(names):
        at.setdefault(shelf.shard_of(name), []).append(row)
    shard, start, kind, kinds = _filled(names, at)
    parts = sorted(start)
    ids = np.array([name.encode() for name in names])
    columns = {
        "ids": torch.from_numpy(ids.view(np.uint8).reshape(len(names), -1)),
        "shard": shard,
        "numbers": torch.tensor([shelf.numbers(name) for name in names], dtype=torch.int32),
        "start": torch.stack([start[part] for part in parts], dim=1),
        "kind": torch.stack([kind[part] for part in parts], dim=1),
    }
    files = [[path.name, path.stat().st_size] for path in sorted(at)]
    return columns, {"files": files, "parts": parts, "kinds": [list(each) for each in kinds]}


def _filled(
    names: list[str], at: Mapping[Path, list[int]]
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], dict[tuple[str, tuple[int, ...]], int]]:
    """Return shard, start and kind of every name, the latter two by part, and the kinds."""
    shard = torch.empty(len(names), dtype=torch.int32)
    start: dict[str, Tensor] = {}
    kind: dict[str, Tensor] = {}
    kinds: dict[tuple[str, tuple[int, ...]], int] = {}
    for number, (path, rows) in enumerate(sorted(at.items())):
        shard[rows] = number
        wanted, seen = {names[row]: row for row in rows}, set[str]()
        for tensor, place in _tensors(path).items():
            entry, _, part = tensor.rpartition(".")
            if entry not in wanted:
                continue
            seen.add(entry)
            if part not in start:
                start[part] = torch.zeros(len(names), dtype=torch.int64)
                kind[part] = torch.full((len(names),), -1, dtype=torch.int16)
            start[part][wanted[entry]] = place.start
            kind[part][wanted[entry]] = kinds.setdefault((place.kind, place.shape), len(kinds))
        if len(seen) < len(wanted):
            raise damaged(path, "the shard does not hold what its .json says")
    return shard, start, kind, kinds


def _tensors(path: Path) -> dict[str, Place]:
    try:
        return Mapped(path).places()[0]
    except (OSError, BadText) as error:
        raise damaged(path, "the shard's header cannot be read") from error


def places_of(folder: Path, columns: Columns, told: Mapping[str, Any]) -> Places:
    """Return a shelf of what `columns_of` returned, from memory or mapped."""
    return Places(
        folder=folder,
        ids=columns["ids"],
        shard=columns["shard"],
        numbers_of=columns["numbers"],
        start=columns["start"],
        kind=columns["kind"],
        files=tuple(str(name) for name, _ in told["files"]),
        parts=tuple(map(str, told["parts"])),
        kinds=tuple((str(kind), tuple(map(int, shape))) for kind, shape in told["kinds"]),
    )


def in_place(folder: Path, told: Mapping[str, Any]) -> bool:
    """Tell whether every shard is there with the size it had."""
    return all(_size(folder / str(name)) == size for name, size in told["files"])


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
