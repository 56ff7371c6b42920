"""Every image of a source of pairs or ranked lists, scored by one or more scorers."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from itertools import islice
from math import isfinite
from typing import TYPE_CHECKING

from diffpref.data.readers import RecordSource
from diffpref.data.records import BadRow, Record
from diffpref.data.tolerance import BadRows
from diffpref.errors import DataError
from diffpref.evaluate.protocols import Judged
from diffpref.io import BadImage, open_image
from diffpref.rewards import LoadedScorer

if TYPE_CHECKING:
    import PIL.Image

Progress = Callable[[int, int | None], None]
Key = tuple[str, str]
"""(prompt, image key): what a score belongs to."""

NOT_FINITE = "score-not-finite"


@dataclass(frozen=True, kw_only=True)
class ScoredRow:
    """A record and its scores, by scorer and image."""

    record: Record
    scores: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The rows of a source that could be scored, and those that could not.

    `flags` counts remarkable scores by scorer and flag, such as prompts that were cut.
    """

    rows: tuple[ScoredRow, ...]
    bad: tuple[BadRow, ...]
    flags: Mapping[str, Counter[str]]

    def judged(self, scorer: str) -> list[Judged]:
        """Return what a protocol sees of one scorer."""
        return [
            Judged(
                prompt=row.record.prompt,
                labels=row.record.scores,
                scores=row.scores[scorer],
                where=row.record.where,
            )
            for row in self.rows
        ]


@dataclass
class Ledger:
    """What is known so far: scores by image and prompt, flags, and images that failed."""

    scorers: Sequence[LoadedScorer]
    batch: int
    scores: dict[Key, dict[str, float]] = field(default_factory=dict)
    faults: dict[Key, BadImage] = field(default_factory=dict)
    flags: dict[str, Counter[str]] = field(default_factory=dict)

    def learn(self, records: Sequence[Record]) -> None:
        """Score the images that are not known yet; images shared by rows are scored once."""
        pictures = self._open(records)
        if not pictures:
            return
        prompts = [prompt for prompt, _ in pictures]
        for scorer in self.scorers:
            found = scorer.score(list(pictures.values()), prompts, batch_size=self.batch)
            name = scorer.info.id
            self.flags.setdefault(name, Counter()).update(f for flags in found.flags for f in flags)
            for key, value in zip(pictures, found.values.tolist(), strict=True):
                self.scores.setdefault(key, {})[name] = value

    def _open(self, records: Sequence[Record]) -> "dict[Key, PIL.Image.Image]":
        pictures: dict[Key, PIL.Image.Image] = {}
        for record in records:
            for image in record.images:
                key = (record.prompt, image.key)
                if key in self.scores or key in self.faults or key in pictures:
                    continue
                try:
                    pictures[key] = open_image(image.content, where=record.where)
                except BadImage as error:
                    self.faults[key] = error
        return pictures

    def row(self, record: Record) -> ScoredRow | BadRow:
        keys = [(record.prompt, image.key) for image in record.images]
        for key in keys:
            if key in self.faults:
                return record.bad(self.faults[key].code, self.faults[key].reason, "images")
        names = [scorer.info.id for scorer in self.scorers]
        scores = {name: tuple(self.scores[key][name] for key in keys) for name in names}
        for name, values in scores.items():
            if not all(map(isfinite, values)):
                return record.bad(NOT_FINITE, f"{name} gives a score that is not finite", "images")
        return ScoredRow(record=record, scores=scores)


def score_source(
    source: RecordSource,
    scorers: Sequence[LoadedScorer],
    *,
    limit: int | None = None,
    batch: int = 32,
    on_bad_row: str = "skip",
    max_bad_fraction: float = 0.05,
    progress: Progress | None = None,
) -> Scored:
    """Score every image of a source with its prompt; a row counts for all scorers or for none.

    Args:
        source: pairs or ranked lists.
        scorers: who scores.
        limit: rows, from the top.
        batch: images in memory and scored at once.
        on_bad_row: skip counts bad rows, error stops at the first.
        max_bad_fraction: more bad rows than this mean a wrong file.
        progress: told the rows done.

    Returns:
        Scores in the order of the rows.

    Raises:
        DataError: no row, or too few of them, could be scored.
    """
    count = source.count()
    total = limit if count is None else min(count, limit or count)
    guard = BadRows(
        where=source.name,
        on_bad_row=on_bad_row,
        max_fraction=max_bad_fraction,
        total=None if count is None else total,
    )
    ledger = Ledger(scorers, batch)
    rows: list[ScoredRow] = []
    bad: list[BadRow] = []
    done = 0
    for chunk in _chunks(islice(source.rows(), limit), batch):
        ledger.learn([row for row in chunk if isinstance(row, Record)])
        for row in chunk:
            outcome = ledger.row(row) if isinstance(row, Record) else row
            if isinstance(outcome, BadRow):
                guard.add(outcome)
                bad.append(outcome)
            else:
                rows.append(outcome)
        done += len(chunk)
        if progress is not None:
            progress(done, total)
    guard.check(done)
    if not rows:
        hint = f"{len(bad)} bad rows, for example {bad[0]}" if bad else "it is empty"
        raise DataError("holds no row that could be scored", where=source.name, hint=hint)
    return Scored(rows=tuple(rows), bad=tuple(bad), flags=ledger.flags)


def scores_csv(parts: Mapping[str, Scored], scorers: Sequence[str]) -> str:
    """Return every score as CSV, one line per image; `part` says which source it is of."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["part", "row", "id", "prompt", "image", "generator", "label", *scorers])
    for part, scored in parts.items():
        for row in scored.rows:
            record = row.record
            head = (part, record.where, record.id or "", record.prompt)
            for n, (image, label) in enumerate(zip(record.images, record.scores, strict=True)):
                values = [row.scores[name][n] for name in scorers]
                table.writerow([*head, image.key, image.generator or "", label, *values])
    return text.getvalue()


def _chunks(rows: Iterator[Record | BadRow], images: int) -> Iterator[list[Record | BadRow]]:
    """Yield rows in groups of about so many images."""
    chunk: list[Record | BadRow] = []
    held = 0
    for row in rows:
        chunk.append(row)
        held += len(row.images) if isinstance(row, Record) else 0
        if held >= images:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk
