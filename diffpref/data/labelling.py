"""Scores every image of a data set into a label table; a stopped run goes on where it was."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

from diffpref.data.labels import SCHEMA, Key, LabelTable, read_table
from diffpref.data.readers import RecordSource
from diffpref.data.records import BadRow, ImageRef, Row
from diffpref.errors import DataError
from diffpref.io import Journal, write_atomic
from diffpref.rewards import LoadedScorer, ScoreResult
from diffpref.rewards.identity import identity

CHUNK = 64
"""Rows scored between two saves."""

Progress = Callable[[int, int | None], None]


def make_table(
    source: RecordSource,
    scorers: Sequence[LoadedScorer],
    out: Path,
    *,
    batch: int = 32,
    dtype: str = "fp32",
    progress: Progress | None = None,
) -> tuple[LabelTable, list[str]]:
    """Score every image of a source with its prompt; a stopped run goes on where it was.

    Args:
        source: what to label.
        scorers: who scores.
        out: the table's file; `<out>.partial` holds what is done until it is whole.
        batch: images scored at once.
        dtype: the precision the scorers were loaded in.
        progress: told after every few rows.

    Returns:
        The table, and what was wrong with each image that could not be labelled.

    Raises:
        DataError: nothing could be labelled.
    """
    print_ = fingerprint(source, scorers, dtype)
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
    _write(out, print_, scorers, done)
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
    if not wanted:
        return
    prompts = [prompt for prompt, _ in wanted]
    # Files are opened by the scorers' own streams, a few at a time, whatever the size of a chunk.
    images = [image.content for image, _ in wanted.values()]
    results = [s.score(images, prompts, batch_size=batch, skip_bad=True) for s in scorers]
    columns = zip(*(found.values.tolist() for found in results), strict=True)
    unreadable = _unreadable(results)
    for number, ((key, (_, where)), values) in enumerate(zip(wanted.items(), columns, strict=True)):
        if number in unreadable:
            bad.append(f"{where}: {unreadable[number]}")
        elif all(isfinite(value) for value in values):
            yield key, list(values)
        else:
            bad.append(f"{where}: a score is not finite")


def _unreadable(results: Sequence[ScoreResult]) -> dict[int, str]:
    """Return why images could not be opened, by number."""
    return {
        number: found.reasons[number].partition(": ")[2]  # where it stands in the call is ours
        for found in results
        for number, flags in enumerate(found.flags)
        if "unreadable" in flags
    }


def fingerprint(source: RecordSource, scorers: Sequence[LoadedScorer], dtype: str) -> str:
    """Return a hash of the data and of the scorers with their weights."""
    told = [source.stamp(), [identity(scorer, dtype) for scorer in scorers]]
    return blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()


def _write(out: Path, run: str, scorers: Sequence[LoadedScorer], done: Mapping[Key, Any]) -> None:
    columns = list(zip(*done.values(), strict=True))
    header = {
        "schema": SCHEMA,
        "run": run,
        "scorers": {
            scorer.info.id: {
                "low": min(column),
                "high": max(column),
                "weights": {each.file: each.sha256 for each in scorer.info.weights},
            }
            for scorer, column in zip(scorers, columns, strict=True)
        },
        "n": len(done),
    }
    lines: list[dict[str, Any]] = [header]
    for (prompt, image), scores in done.items():
        lines.append({"prompt": prompt, "image": image, "scores": scores})
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_atomic(out, text)
