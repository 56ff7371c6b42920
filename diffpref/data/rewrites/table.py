"""The table of rewrites: what was scored, by whom, and which text to use for each prompt.

The first line says who judged and by which rule; every other line is one prompt:

    {"id"?, "prompt", "best", "place", "gain", "gains": {scorer: [..]},
     "scores": {scorer: [..]}, "key"}

`place` is the candidate's, 0 being the prompt itself; null is a number nobody gave.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite, nan
from pathlib import Path
from typing import Any, cast

from diffpref.data.rewrites.choose import Rule, gains_of
from diffpref.data.rewrites.judges import ImageJudge, Judge, TextJudge, identity_of
from diffpref.data.rewrites.read import BadCandidates, Candidates, read_candidates
from diffpref.errors import DataError
from diffpref.io import Journal, write_atomic

SCHEMA = "diffpref-rewrites/1"
CHUNK = 16
"""Rows scored between two saves."""

Progress = Callable[[int, int | None], None]
Scores = dict[str, list[float | None]]
"""Numbers of a row's candidates by scorer; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class RewriteTable:
    """A written table: its header, its rows in order, and what was wrong with the others."""

    header: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    bad: tuple[str, ...]


def make_rewrites(
    source: Path,
    judges: Sequence[Judge],
    out: Path,
    *,
    rule: Rule | None = None,
    batch: int = 8,
    progress: Progress | None = None,
) -> RewriteTable:
    """Score every candidate of a file and keep the best; a stopped run goes on where it was.

    Args:
        source: see `read`.
        judges: who scores; their gains are added.
        out: the table's file; `<out>.partial` holds what is done until it is whole.
        rule: when a rewrite replaces its prompt.
        batch: candidates scored at once.
        progress: told after every few rows.

    Returns:
        The table.

    Raises:
        DataError: no such file, or nothing in it could be scored.
    """
    pictures = any(judge.reads == "image" for judge in judges)
    every = list(read_candidates(source, pictures=pictures))
    good = [row for row in every if isinstance(row, Candidates)]
    bad = [str(row) for row in every if isinstance(row, BadCandidates)]
    header = _header(source, judges, rule or Rule())
    journal = Journal(out.with_name(out.name + ".partial"))
    done = _score(good, judges, journal, header, batch=batch, progress=progress)
    lines: list[dict[str, Any]] = []
    for row in good:
        line = _line(row, done[row.key], judges, rule or Rule())
        if line is None:
            bad.append(f"{row.where}: the prompt itself has no score")
        else:
            lines.append(line)
    if not lines:
        hint = "; ".join(bad[:3]) or "it is empty"
        raise DataError("nothing could be scored", where=str(source), hint=hint)
    header |= {"n": len(lines), "rewritten": sum(line["place"] > 0 for line in lines)}
    header |= _place_bias(judges)
    text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in (header, *lines))
    write_atomic(out, text)
    journal.path.unlink(missing_ok=True)
    return RewriteTable(header=header, rows=tuple(lines), bad=tuple(bad))


def best_prompts(table: RewriteTable, path: Path) -> None:
    """Write the texts to use, in order: a .txt of one per line, or .jsonl with their origin.

    Raises:
        DataError: a text of several lines does not fit into a .txt.
    """
    if path.suffix == ".txt":
        texts = [str(row["best"]) for row in table.rows]
        broken = next((text for text in texts if len(text.splitlines()) > 1), None)
        if broken is not None:
            what = f"a prompt has several lines: {broken.splitlines()[0][:60]!r}"
            raise DataError(what, where=str(path), hint="write a .jsonl file")
        write_atomic(path, "".join(text + "\n" for text in texts))
        return
    rows = [
        {"prompt": row["best"], "original": row["prompt"], "gain": row["gain"], "key": row["key"]}
        for row in table.rows
    ]
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _header(source: Path, judges: Sequence[Judge], rule: Rule) -> dict[str, Any]:
    told = {judge.instruction for judge in judges if isinstance(judge, TextJudge)}
    return {
        "schema": SCHEMA,
        "source": source.name,
        "source_sha256": sha256(source.read_bytes()).hexdigest(),
        "scorers": {judge.info.id: identity_of(judge) for judge in judges},
        "instruction": next(iter(told), None),
        "margin": rule.margin,
        "agree": rule.agree,
    }


def _place_bias(judges: Sequence[Judge]) -> dict[str, Any]:
    """Return how judges of pairs favoured a place in this run; nothing if there are none."""
    told = {judge.info.id: judge.place_bias() for judge in judges if isinstance(judge, ImageJudge)}
    known = {name: bias for name, bias in told.items() if bias is not None}
    return {"place_bias": known} if known else {}


def _score(
    rows: Sequence[Candidates],
    judges: Sequence[Judge],
    journal: Journal,
    header: Mapping[str, Any],
    *,
    batch: int,
    progress: Progress | None,
) -> dict[str, Scores]:
    """Return every row's scores by its key; those of an earlier run of the same judges are kept."""
    who = json.dumps([header["scorers"], header["instruction"]], sort_keys=True)
    run = sha256(who.encode()).hexdigest()
    done = {
        str(line["key"]): cast(Scores, line["scores"])
        for line in journal.read()
        if line.get("run") == run
    }
    for start in range(0, len(rows), CHUNK):
        part = {row.key: row for row in rows[start : start + CHUNK] if row.key not in done}
        found = {judge.info.id: judge.numbers([*part.values()], batch=batch) for judge in judges}
        for key in part:
            scores: Scores = {
                name: [value if isfinite(value) else None for value in numbers[key]]
                for name, numbers in found.items()
            }
            journal.append({"run": run, "key": key, "scores": scores})
            done[key] = scores
        if progress is not None:
            progress(min(start + CHUNK, len(rows)), len(rows))
    return done


def _line(
    row: Candidates, scores: Scores, judges: Sequence[Judge], rule: Rule
) -> dict[str, Any] | None:
    """Return a row of the table; None if there is nothing to measure gains from."""
    gains: dict[str, list[float]] = {}
    for judge in judges:
        name = judge.info.id
        numbers = [nan if value is None else value for value in scores[name]]
        gains[name] = gains_of(numbers, None if judge.compares else judge.info.temperature)
    if not all(isfinite(column[0]) for column in gains.values()):
        return None
    place = rule.best(list(gains.values()))
    line: dict[str, Any] = {
        "prompt": row.prompt,
        "best": row.texts[place],
        "place": place,
        "gain": sum(column[place] for column in gains.values()),
        "gains": {
            name: [value if isfinite(value) else None for value in column]
            for name, column in gains.items()
        },
        "scores": scores,
        "key": row.key,
    }
    return line if row.id is None else {"id": row.id, **line}
