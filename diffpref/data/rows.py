"""The rows of a cache folder's data sets, and the headers that describe them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from torch import Tensor

from diffpref.errors import DataError
from diffpref.io import BadLine, BadText, parse_json, read_json, read_jsonl
from diffpref.io.mapped import Mapped


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedRow:
    """A row of a cached data set; `images` are ids of entries."""

    prompt: str
    images: tuple[str, ...]
    scores: tuple[float, ...]
    user: str | None = None
    id: str | None = None
    source: str | None = None
    weight: float = 1.0
    where: str = ""


def rows_file(root: Path, key: str, ending: str) -> Path:
    return root / "rows" / f"{key}{ending}"


def list_headers(root: Path) -> list[dict[str, Any]]:
    """Return the headers of the finished data sets of a cache folder, in the order of keys."""
    found = [read_json(path) for path in sorted((root / "rows").glob("*.json"))]
    return [header for header in found if isinstance(header, dict)]


def read_rows(path: Path) -> list[CachedRow]:
    """Read the rows that the cache itself wrote."""
    rows: list[CachedRow] = []
    for line, raw in read_jsonl(path):
        if isinstance(raw, BadLine):
            raise damaged(path, f"line {line}: {raw.reason}")
        rows.append(row_of(raw))
    return rows


def row_of(raw: Mapping[str, Any]) -> CachedRow:
    lists = {"images": tuple(raw["images"]), "scores": tuple(map(float, raw["scores"]))}
    return CachedRow(**{**raw, **lists})


def parse_row(line: bytes, path: Path, number: int) -> CachedRow:
    """Read the row of a line; `number` counts from 0.

    Raises:
        DataError: it is not as the cache wrote it.
    """
    try:
        raw: Any = parse_json(line)
        return row_of(raw)
    except (BadText, KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"line {number + 1}: {error}") from error


class MappedRows(Sequence[CachedRow]):
    """The rows of a file, each read from it when it is asked for.

    lines: the first byte of every row, and the file's length.
    """

    def __init__(self, path: Path, lines: Tensor) -> None:
        self._path, self._pages, self._lines = path, Mapped(path), lines

    def __len__(self) -> int:
        return len(self._lines) - 1

    @overload
    def __getitem__(self, index: int, /) -> CachedRow: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[CachedRow]: ...
    def __getitem__(self, index: int | slice, /) -> CachedRow | list[CachedRow]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        start, stop = self._lines[number : number + 2].tolist()
        return parse_row(self._pages.bytes(start, stop), self._path, number)

    def __iter__(self) -> Iterator[CachedRow]:
        return (self[number] for number in range(len(self)))


def damaged(path: Path, what: str) -> DataError:
    hint = "run `diffpref data cache` again: only what is missing is encoded"
    return DataError(what, where=str(path), hint=hint)
