"""A label table: what scorers think of every image of a data set, kept beside it.

The first line says who scored and the smallest and largest score of each over the whole data set;
every other line is one image of one prompt.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, cast

from diffpref.data.readers import RecordSource
from diffpref.data.readers.reader import Ask
from diffpref.data.records import BadRow, ImageRef, Record, Row, RowCode
from diffpref.errors import DataError
from diffpref.io import BadImage, Journal, open_image, read_jsonl, write_atomic
from diffpref.rewards import LoadedScorer

SCHEMA = "diffpref-labels/1"
CHUNK = 64
"""Rows scored between two saves."""

Progress = Callable[[int, int | None], None]
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
        if len(found) < len(rows):
            return None
        columns = list(zip(*found, strict=True))
        if len(columns) == 1:
            (low, high), values = self.ranges[0], columns[0]
            return tuple(0.5 if low == high else (v - low) / (high - low) for v in values)
        return _wins(columns)

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """Smallest and largest score of every scorer."""
        return [(each["low"], each["high"]) for each in self.header["scorers"].values()]


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


def make_table(
    source: RecordSource,
    scorers: Sequence[LoadedScorer],
    out: Path,
    *,
    batch: int = 32,
    progress: Progress | None = None,
) -> tuple[LabelTable, list[str]]:
    """Score every image of a source with its prompt; a stopped run goes on where it was.

    Args:
        source: what to label.
        scorers: who scores.
        out: the table's file; `<out>.partial` holds what is done until it is whole.
        batch: images scored at once.
        progress: told after every few rows.

    Returns:
        The table, and what was wrong with each image that could not be labelled.

    Raises:
        DataError: nothing could be labelled.
    """
    names = [scorer.info.id for scorer in scorers]
    print_ = blake2b(json.dumps([source.stamp(), names]).encode(), digest_size=16).hexdigest()
    journal = Journal(out.with_name(out.name + ".partial"))
    done = {
        (str(line["prompt"]), str(line["image"])): line["scores"]
        for line in journal.read()
        if line.get("run") == print_
    }
    bad: list[str] = []
    rows, total, count = source.rows(), source.count(), 0
    while chunk := list(islice(rows, CHUNK)):
        wanted = _unlabelled(chunk, done, bad)
        for key, values in _scored(wanted, scorers, batch, bad):
            journal.append({"run": print_, "prompt": key[0], "image": key[1], "scores": values})
            done[key] = values
        count += len(chunk)
        if progress is not None:
            progress(count, total)
    if not done:
        raise DataError("no image could be labelled", where=source.name, hint="; ".join(bad[:3]))
    _write(out, scorers, done)
    journal.path.unlink(missing_ok=True)
    return read_table(out), bad


def _unlabelled(
    chunk: Sequence[Row], done: Mapping[Key, object], bad: list[str]
) -> dict[Key, tuple[ImageRef, str]]:
    wanted: dict[Key, tuple[ImageRef, str]] = {}
    for row in chunk:
        if isinstance(row, BadRow):
            bad.append(str(row))
            continue
        for image in row.images:
            key = (row.prompt, image.key)
            if key not in done:
                wanted[key] = (image, row.where)
    return wanted


def _scored(
    wanted: Mapping[Key, tuple[ImageRef, str]],
    scorers: Sequence[LoadedScorer],
    batch: int,
    bad: list[str],
) -> Iterator[tuple[Key, list[float]]]:
    keys, images = [], []
    for key, (image, where) in wanted.items():
        try:
            images.append(open_image(image.content, where=where))
            keys.append(key)
        except BadImage as error:
            bad.append(f"{where}: {error.code}: {error.reason}")
    if not keys:
        return
    prompts = [prompt for prompt, _ in keys]
    columns = [s.score(images, prompts, batch_size=batch).values.tolist() for s in scorers]
    for key, values in zip(keys, zip(*columns, strict=True), strict=True):
        if all(isfinite(value) for value in values):
            yield key, list(values)
        else:
            bad.append(f"{wanted[key][1]}: a score is not finite")


def _write(out: Path, scorers: Sequence[LoadedScorer], done: Mapping[Key, Any]) -> None:
    columns = list(zip(*done.values(), strict=True))
    header = {
        "schema": SCHEMA,
        "scorers": {
            scorer.info.id: {"low": min(column), "high": max(column)}
            for scorer, column in zip(scorers, columns, strict=True)
        },
        "n": len(done),
    }
    lines: list[dict[str, Any]] = [header]
    for (prompt, image), scores in done.items():
        lines.append({"prompt": prompt, "image": image, "scores": scores})
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_atomic(out, text)


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
