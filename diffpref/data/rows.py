"""The rows of a cache folder's data sets, and the headers that describe them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffpref.errors import DataError
from diffpref.io import BadLine, read_json, read_jsonl


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


def damaged(path: Path, what: str) -> DataError:
    hint = "run `diffpref data cache` again: only what is missing is encoded"
    return DataError(what, where=str(path), hint=hint)
