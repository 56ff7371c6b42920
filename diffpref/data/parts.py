"""The progress of a build: one small file per finished shard, so that a kill loses at most one."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from json import dumps
from pathlib import Path
from shutil import rmtree

from diffpref.data.records import BadRow
from diffpref.data.rows import CachedRow, row_of
from diffpref.io import BadText, read_json, write_atomic


@dataclass(kw_only=True)
class Part:
    """What became of a span of rows; `next` is the number of the first row after it."""

    next: int = 0
    rows: list[CachedRow] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    upscaled: int = 0


@dataclass(kw_only=True)
class Parts:
    """The finished parts of one data set, in order."""

    folder: Path
    done: list[Part] = field(default_factory=list)

    def add(self, part: Part) -> None:
        """Store a part durably."""
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = {
            "next": part.next,
            "rows": [asdict(row) for row in part.rows],
            "bad": [row.plain() for row in part.bad],
            "dropped": dict(part.dropped),
            "upscaled": part.upscaled,
        }
        write_atomic(self.folder / f"{len(self.done):06}.json", dumps(plain))
        self.done.append(part)

    def rows(self) -> list[CachedRow]:
        return [row for part in self.done for row in part.rows]

    def bad(self) -> list[BadRow]:
        return [row for part in self.done for row in part.bad]

    def bad_counts(self) -> Counter[str]:
        return Counter(row.code for row in self.bad())

    def dropped(self) -> Counter[str]:
        return sum((part.dropped for part in self.done), Counter[str]())

    def upscaled(self) -> int:
        return sum(part.upscaled for part in self.done)

    def next(self) -> int:
        return self.done[-1].next if self.done else 0

    def clear(self) -> None:
        """Forget all progress."""
        rmtree(self.folder, ignore_errors=True)
        self.done = []


def open_parts(folder: Path) -> Parts:
    """Read the parts up to the first gap or damaged one."""
    parts = Parts(folder=folder)
    while (path := folder / f"{len(parts.done):06}.json").is_file():
        try:
            parts.done.append(_part(read_json(path)))
        except (BadText, TypeError, KeyError):
            break
    return parts


def _part(raw: object) -> Part:
    if not isinstance(raw, dict):
        raise TypeError("a part is an object")
    return Part(
        next=raw["next"],
        rows=[row_of(row) for row in raw["rows"]],
        bad=[BadRow(**row) for row in raw["bad"]],
        dropped=Counter(raw["dropped"]),
        upscaled=raw["upscaled"],
    )
