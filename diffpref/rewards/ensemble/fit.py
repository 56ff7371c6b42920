"""Mean and standard deviation of scorers over a label table."""

from dataclasses import dataclass
from math import fsum, isfinite, sqrt
from pathlib import Path
from typing import Any, cast

from diffpref.errors import DataError
from diffpref.io import BadLine, read_jsonl
from diffpref.types import PerRow

SCHEMA = "diffpref-labels/"
"""The beginning of what a label table says it is; its header names the scorers in order."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What is taken off a score, and what it is divided by."""

    mean: float
    std: float

    def unit(self, scores: PerRow) -> PerRow:
        """Return scores without their own unit."""
        return (scores - self.mean) / self.std


def read_spreads(path: Path) -> dict[str, Spread]:
    """Return the spread of every scorer of a table of `diffpref label pairs`, by its id.

    Raises:
        DataError: no such table, a damaged one, or a scorer whose scores are all the same.
    """
    hint = "make one: diffpref label pairs SOURCE --scorer NAME --out FILE"
    if not path.is_file():
        raise DataError("there is no label table", where=str(path), hint=hint)
    lines = read_jsonl(path)
    header = next((row for _, row in lines), None)
    if not isinstance(header, dict) or not str(header.get("schema")).startswith(SCHEMA):
        raise DataError("is no label table", where=f"{path}:1", hint=hint)
    names = list(cast(dict[str, Any], header.get("scorers", {})))
    rows = [_scores(row, len(names), f"{path}:{number}") for number, row in lines]
    if not rows or not names:
        raise DataError("holds no scores", where=str(path), hint=hint)
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return {name: _spread(name, column, path) for name, column in columns}


def _scores(row: dict[str, object] | BadLine, size: int, where: str) -> list[float]:
    scores = row.get("scores") if isinstance(row, dict) else None
    if (
        not isinstance(scores, list)
        or len(scores) != size
        or not all(isinstance(s, int | float) and isfinite(s) for s in scores)
    ):
        raise DataError("is damaged", where=where, hint="make the table anew")
    return [float(score) for score in scores]


def _spread(name: str, column: tuple[float, ...], path: Path) -> Spread:
    mean = fsum(column) / len(column)
    std = sqrt(fsum((value - mean) ** 2 for value in column) / len(column))
    if std == 0:
        hint = "fit on more images, or say mean and std"
        raise DataError(f"all scores of {name} are the same", where=str(path), hint=hint)
    return Spread(mean=mean, std=std)
