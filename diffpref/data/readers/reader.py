"""What a reader is: a test whether it knows a source, and a stream of rows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from diffpref.data.records import BadRow, Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What to read: `split` of a source that has several, from row `start`, pixels or not.

    A light read (`pixels=False`) gives the same rows with the same image keys and skips the bytes
    of the images where the format allows it.
    """

    split: str = "train"
    pixels: bool = True
    start: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """One format of preference data.

    knows: looks at the content of a source; never raises for a source of another format.
    rows: yields a Row per row of the source, always in the same order.
    count: how many rows there are, or None when only reading to the end tells.
    stamp: text that changes whenever the rows or the images may have changed.
    """

    summary: str
    knows: Callable[[str], bool]
    rows: Callable[[str, Ask], Iterator[Row]]
    count: Callable[[str, Ask], int | None]
    stamp: Callable[[str, Ask], str]


def stamp_files(files: Iterable[Path]) -> str:
    """Return a hash of the names, sizes and times of files."""
    total = blake2b(digest_size=16)
    for path in files:
        state = path.stat() if path.exists() else None
        seen = f"{path.name}:{state.st_size}:{state.st_mtime_ns}" if state else f"{path.name}:-"
        total.update(seen.encode(errors="surrogateescape") + b"\0")
    return total.hexdigest()


def stamp_rows(rows: Iterable[Row]) -> str:
    """Return a hash of the rows and of the names, sizes and times of the images they name."""
    total = blake2b(digest_size=16)
    for row in rows:
        total.update(repr(row).encode(errors="surrogateescape"))
        if not isinstance(row, BadRow):
            paths = (image.path for image in row.images)
            total.update(stamp_files(path for path in paths if path is not None).encode())
    return total.hexdigest()
