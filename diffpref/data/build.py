"""Build a cache: encode every image and prompt once, so that a kill loses at most one shard."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffpref.data.cache import Cache, missing_entries, open_rows
from diffpref.data.encode import Encoding
from diffpref.data.encoder import Encoder
from diffpref.data.filters import Filters
from diffpref.data.finish import finish, finished, indexed
from diffpref.data.lock import hold
from diffpref.data.parts import Part, Parts, open_parts
from diffpref.data.plan import CacheSettings, Plan, make_plan
from diffpref.data.prepare import Dropped, Outcome, Prepared, prepare_rows
from diffpref.data.readers import RecordSource
from diffpref.data.report import Overlong
from diffpref.data.rows import CachedRow, rows_file
from diffpref.data.shelf import open_shelf
from diffpref.data.tolerance import BadRows

Progress = Callable[[int, int | None], None]
"""(rows done, rows in all if known)."""


def build_cache(
    source: RecordSource,
    encoder: Encoder,
    root: Path,
    *,
    settings: CacheSettings | None = None,
    filters: Filters | None = None,
    overlong: Overlong | None = None,
    progress: Progress | None = None,
) -> Cache:
    """Return the cache of a source, encoding only what `root` lacks; repeat it to resume.

    Safe to run from several processes: they wait for each other only over the same data set.

    Args:
        source: what to read.
        encoder: the model's frozen halves.
        root: cache folder, shared by any number of data sets, models and runs.
        settings: how to cut and store.
        filters: what to leave out.
        overlong: counts captions over the token limit with the model's own tokenizer.
        progress: told after every row; rows read before a resume count as done.

    Raises:
        DataError: a bad row when none is allowed, too many bad rows, or no row left.
        ConfigError: the resolution does not suit the model, or numbers do not fit the dtype.
    """
    settings = settings or CacheSettings()
    plan = make_plan(source, encoder, settings, filters or Filters())
    for folder in ("images", "text", "rows"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    lock = hold(root / ".lock")
    alone = hold(rows_file(root, plan.key, ".lock"), exclusive=True)
    try:
        header = indexed(root, plan) or _built(
            source, encoder, root, plan, overlong=overlong, progress=progress
        )
        _tolerance(source, settings, header["report"]["bad"]).check(header["report"]["rows"])
        return open_rows(root, header, lock)
    finally:
        if alone is not None:
            alone.close()


def _built(
    source: RecordSource,
    encoder: Encoder,
    root: Path,
    plan: Plan,
    *,
    overlong: Overlong | None,
    progress: Progress | None,
) -> Mapping[str, Any]:
    """Return the header of the finished data set, encoding what the shelves lack."""
    images = open_shelf(root / "images" / plan.image_folder, plan.images)
    text = open_shelf(root / "text" / plan.text_folder, plan.text)
    header = finished(root, plan, images, text)
    if header is not None:
        return header
    parts = open_parts(rows_file(root, plan.key, ".parts"))
    encoding = Encoding(
        encoder=encoder,
        images=images,
        text=text,
        dtype=plan.settings.dtype,
        batch=plan.settings.batch,
    )
    _read_rest(source, plan, parts, encoding, progress)
    return finish(root, source, plan, parts, overlong)


def _read_rest(
    source: RecordSource,
    plan: Plan,
    parts: Parts,
    encoding: Encoding,
    progress: Progress | None,
) -> None:
    """Read on from the last finished part to the end of the source."""
    if missing_entries(parts.rows(), encoding.images, encoding.text):
        parts.clear()
    settings, total = plan.settings, source.count()
    encoding.add("", ())
    tolerance = _tolerance(source, settings, parts.bad_counts(), total)
    part = Part(next=parts.next())
    for outcome in prepare_rows(
        source, plan.filters, plan.cutting, start=part.next, kept=len(parts.rows())
    ):
        _take(outcome, part, encoding, tolerance)
        if encoding.pending >= settings.shard:
            encoding.flush()
            parts.add(part)
            part = Part(next=part.next)
        if progress is not None:
            progress(part.next, total)
    encoding.flush()
    parts.add(part)


def _take(outcome: Outcome, part: Part, encoding: Encoding, tolerance: BadRows) -> None:
    """Note what became of one row."""
    part.next = outcome.ordinal + 1
    if isinstance(outcome, Prepared):
        part.rows.append(_cached(outcome))
        part.upscaled += sum(cut.geometry.upscaled for cut in outcome.cuts)
        encoding.add(outcome.record.prompt, outcome.cuts)
    elif isinstance(outcome, Dropped):
        part.dropped[outcome.reason] += 1
    else:
        part.bad.append(outcome.row)
        tolerance.add(outcome.row)


def _cached(outcome: Prepared) -> CachedRow:
    record = outcome.record
    return CachedRow(
        prompt=record.prompt,
        images=tuple(cut.id for cut in outcome.cuts),
        scores=record.scores,
        user=record.user,
        id=record.id,
        source=record.source,
        weight=record.weight,
        where=record.where,
    )


def _tolerance(
    source: RecordSource, settings: CacheSettings, bad: Mapping[str, int], total: int | None = None
) -> BadRows:
    return BadRows(
        where=source.name,
        on_bad_row=settings.on_bad_row,
        max_fraction=settings.max_bad_fraction,
        total=total,
        counts=Counter(bad),
    )
