"""Look at a source without a model: what a run would keep, and why it would leave the rest."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from diffpref.data.filters import Filters
from diffpref.data.prepare import Dropped, Prepared, pixels_of, prepare_rows
from diffpref.data.readers import RecordSource
from diffpref.data.records import BadRow
from diffpref.data.report import Overlong, Report, Tally, make_report


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The report, whose buckets are the sizes of the images, and every bad row."""

    report: Report
    bad: tuple[BadRow, ...]


def inspect_source(
    source: RecordSource,
    *,
    filters: Filters | None = None,
    limit: int | None = None,
    overlong: Overlong | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Inspection:
    """Read the rows and decode every image, as a run would.

    Args:
        source: what to read.
        filters: what a run would leave out.
        limit: read this many rows at most.
        overlong: counts captions over the token limit with a model's own tokenizer.
        progress: told after every row: rows done, rows in all if known.
    """
    tally, dropped, sizes = Tally(), Counter[str](), Counter[str]()
    bad: list[BadRow] = []
    total = source.count()
    total = limit if total is None else min(total, limit or total)
    outcomes = prepare_rows(source, filters or Filters(), None)
    for done, outcome in enumerate(islice(outcomes, limit), start=1):
        if isinstance(outcome, Prepared):
            record, names = outcome.record, [pixels_of(cut.id) for cut in outcome.cuts]
            tally.add(record.prompt, names, record.scores, record.user)
            sizes.update("{}x{}".format(*cut.geometry.original) for cut in outcome.cuts)
        elif isinstance(outcome, Dropped):
            dropped[outcome.reason] += 1
        else:
            bad.append(outcome.row)
        if progress is not None:
            progress(done, total)
    report = make_report(
        tally,
        dropped=dropped,
        bad=Counter(row.code for row in bad),
        overlong=overlong,
        buckets=sizes,
    )
    return Inspection(report=report, bad=tuple(bad))
