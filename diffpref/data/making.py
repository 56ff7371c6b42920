"""A data set of pairs or ranked lists out of images that scorers judged."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffpref.data.choose import MEANING, WAY_OUT, Choice, Dropped, Rule, chosen
from diffpref.data.labelling import Progress, fingerprint, make_table
from diffpref.data.labels import LabelTable, read_table
from diffpref.data.loose import by_content
from diffpref.data.readers import RecordSource
from diffpref.data.records import BadRow, ImageRef, Record
from diffpref.data.writers import image_data, write_jsonl
from diffpref.errors import DataError
from diffpref.io import write_atomic, write_json
from diffpref.rewards import LoadedScorer

SCHEMA = "diffpref-made/1"
TABLE, MADE = "labels.jsonl", "made.json"
"""Beside metadata.jsonl: every image's scores, and how the rows came about."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was made: rows kept, rows dropped by reason, and images that could not be scored."""

    path: Path
    table: LabelTable
    kept: int
    prompts: int
    dropped: Mapping[str, int]
    bad: tuple[str, ...]


def make_rows(
    source: RecordSource,
    scorers: Sequence[LoadedScorer],
    folder: Path,
    rule: Rule,
    *,
    facts: Mapping[str, str] | None = None,
    batch: int = 32,
    dtype: str = "fp32",
    progress: Progress | None = None,
) -> Made:
    """Score the images of a source and write a data set of the rows that a rule allows.

    `folder` then is a source by itself: metadata.jsonl with its images, labels.jsonl with the
    scores of all images (not only of those in a row), and made.json. A stopped run goes on; scores
    of the same images by the same scorers are not computed again for another rule.

    Args:
        source: images with prompts; rows of one prompt are one group, their own scores unused.
        scorers: who scores.
        folder: the data set.
        rule: what becomes a row.
        facts: how the images were made.
        batch: images scored at once.
        dtype: the precision the scorers were loaded in.
        progress: told after every few rows scored.

    Returns:
        What was made.

    Raises:
        DataError: nothing could be scored, or the rule leaves no row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = by_content(source)
    table, bad = _table_of(folder / TABLE, fingerprint(named, scorers, dtype)), list[str]()
    if table is None:
        table, bad = make_table(
            named, scorers, folder / TABLE, batch=batch, dtype=dtype, progress=progress
        )
    found = list(chosen(table, rule))
    rows = [each for each in found if isinstance(each, Choice)]
    dropped = Counter(each.reason for each in found if isinstance(each, Dropped))
    if not rows:
        raise _nothing_left(dropped, bad, source.name)
    _write_images(named, folder, {image for row in rows for image in row.images})
    made = Made(
        path=write_jsonl(folder, _records(rows, folder, source.name)),
        table=table,
        kept=len(rows),
        prompts=len({prompt for prompt, _ in table.scores}),
        dropped=dict(dropped),
        bad=tuple(bad),
    )
    write_json(folder / MADE, _record(made, rule, facts or {}))
    return made


def _nothing_left(dropped: Mapping[str, int], bad: Sequence[str], where: str) -> DataError:
    told = [f"{count} x {MEANING[reason]}" for reason, count in dropped.items()]
    if bad:
        told.append(f"{len(bad)} not scored, for example {bad[0]}")
    ways = [WAY_OUT[reason] for reason in dropped if reason in WAY_OUT]
    hint = ", or ".join(dict.fromkeys(ways)) or "mend the images"
    return DataError(f"no row is left: {'; '.join(told)}", where=where, hint=hint)


def _record(made: Made, rule: Rule, facts: Mapping[str, str]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "rule": asdict(rule),
        "scorers": made.table.header["scorers"],
        "images": made.table.header["n"],
        "prompts": made.prompts,
        "rows": made.kept,
        "dropped": dict(made.dropped),
        "bad": len(made.bad),
        "made_by": dict(facts),
    }


def _table_of(path: Path, run: str) -> LabelTable | None:
    """Return the table that is there if it is of the same images and scorers."""
    table = read_table(path) if path.is_file() else None
    return table if table is not None and table.header.get("run") == run else None


def _write_images(source: RecordSource, folder: Path, wanted: set[str]) -> None:
    (folder / "images").mkdir(exist_ok=True)
    for row in source.rows():
        for image in () if isinstance(row, BadRow) else row.images:
            target = folder / image.key
            if image.key in wanted and not target.exists():
                write_atomic(target, image_data(image))


def _records(rows: Iterable[Choice], folder: Path, source: str) -> Iterable[Record]:
    for number, row in enumerate(rows):
        yield Record(
            prompt=row.prompt,
            images=tuple(ImageRef(key=key, path=folder / key) for key in row.images),
            scores=row.labels,
            user=row.user,
            id=str(number),
            source=Path(source).name,
        )
