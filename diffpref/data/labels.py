"""A label table: what scorers think of every image of a data set, kept beside it.

The first line says who scored and the smallest and largest score of each over the whole data set;
every other line is one image of one prompt.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

from diffpref.data.readers import RecordSource
from diffpref.data.readers.reader import Ask
from diffpref.data.records import BadRow, Record, Row, RowCode
from diffpref.errors import DataError
from diffpref.io import read_jsonl

SCHEMA = "diffpref-labels/1"
Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """Scores by (prompt, image key); `header` holds each scorer's id and range."""

    header: Mapping[str, Any]
    scores: Mapping[Key, tuple[float, ...]] = field(repr=False)
    fingerprint: str

    def of(self, row: Record) -> tuple[float, ...] | None:
        """Return a row's labels in [0, 1], or None if one of its images has none.

        One scorer: min-max normalised over the whole table. Several: the share of comparisons
        with the row's other images, over all scorers, that each image wins; ties count one half.
        """
        rows = [self.scores.get((row.prompt, image.key)) for image in row.images]
        found = [row for row in rows if row is not None]
        return labels_of(found, self.ranges) if len(found) == len(rows) else None

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """Smallest and largest score of every scorer."""
        return [
            (float(each["low"]), float(each["high"])) for each in self.header["scorers"].values()
        ]


def labels_of(
    rows: Sequence[Sequence[float]], ranges: Sequence[tuple[float, float]]
) -> tuple[float, ...]:
    """Return the labels of one prompt's images as `LabelTable.of` explains them.

    Args:
        rows: every scorer's score of each image.
        ranges: of each scorer over the whole table.
    """
    columns = list(zip(*rows, strict=True))
    if len(columns) == 1:
        return tuple(normalised(value, ranges[0]) for value in columns[0])
    return _wins(columns)


def normalised(value: float, span: tuple[float, float]) -> float:
    """Return where a score lies between the smallest and the largest, 0 to 1."""
    low, high = span
    return 0.5 if low == high else (value - low) / (high - low)


def relabelled(source: RecordSource, path: Path) -> RecordSource:
    """Return the source with the table's labels in place of its scores.

    A row with an image the table does not know is a bad row.

    Raises:
        DataError: there is no table, or it is damaged.
    """
    table, plain = read_table(path), source.reader

    def rows(place: str, ask: Ask) -> Iterator[Row]:
        for row in plain.rows(place, ask):
            if isinstance(row, BadRow):
                yield row
                continue
            labels = table.of(row)
            if labels is None:
                reason = f"an image has no label in {path.name}; run `diffpref label pairs` again"
                yield row.bad(RowCode.NO_LABEL, reason, "images")
            else:
                yield replace(row, scores=labels)

    def stamp(place: str, ask: Ask) -> str:
        return f"labels {table.fingerprint} {plain.stamp(place, ask)}"

    return replace(source, reader=replace(plain, rows=rows, stamp=stamp))


def read_table(path: Path) -> LabelTable:
    """Read a label table.

    Raises:
        DataError: there is none, or it is damaged.
    """
    if not path.is_file():
        hint = "make one: diffpref label pairs SOURCE --scorer NAME --out FILE"
        raise DataError("there is no label table", where=str(path), hint=hint)
    lines = read_jsonl(path)
    first = next(iter(lines), None)
    header = first[1] if first is not None else None
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        raise DataError(f"is no label table ({SCHEMA})", where=f"{path}:1", hint="make it anew")
    scores: dict[Key, tuple[float, ...]] = {}
    for number, line in lines:
        if not isinstance(line, dict):
            raise DataError("is damaged", where=f"{path}:{number}", hint="make the table anew")
        entry = cast(dict[str, Any], line)
        scores[str(entry["prompt"]), str(entry["image"])] = tuple(entry["scores"])
    if len(scores) != header["n"]:
        what = f"holds {len(scores)} of {header['n']} labels"
        raise DataError(what, where=str(path), hint="make the table anew")
    digest = blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return LabelTable(header=header, scores=scores, fingerprint=digest)


def _wins(columns: Sequence[Sequence[float]]) -> tuple[float, ...]:
    size = len(columns[0])
    if size == 1:
        return (1.0,)
    share = 1 / (len(columns) * (size - 1))
    return tuple(share * sum(_beaten(column, place) for column in columns) for place in range(size))


def _beaten(column: Sequence[float], place: int) -> float:
    """Return how many others the value at a place exceeds; ties count one half."""
    own = column[place]
    return sum((own > other) + 0.5 * (own == other) for other in column) - 0.5
