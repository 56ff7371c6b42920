"""Close a build: its rows and bad rows are written whole, and its header last."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Any

from diffpref.data.cache import missing_entries
from diffpref.data.encoder import CACHE_FORMAT
from diffpref.data.index import find_index
from diffpref.data.parts import Parts
from diffpref.data.plan import Plan
from diffpref.data.prepare import pixels_of
from diffpref.data.readers import RecordSource
from diffpref.data.report import Overlong, Report, Tally, make_report
from diffpref.data.rows import read_rows, rows_file
from diffpref.data.shelf import Shelf, file_hash
from diffpref.errors import DataError
from diffpref.io import BadText, read_json, write_atomic, write_json


def indexed(root: Path, plan: Plan) -> dict[str, Any] | None:
    """Return the header of a data set that is finished and has an index, else None.

    It says what `finished` says without reading a row or what is on the shelves.
    """
    header = _header(root, plan)
    return None if header is None or find_index(root, header) is None else header


def finished(root: Path, plan: Plan, images: Shelf, text: Shelf) -> dict[str, Any] | None:
    """Return the header of a data set of which nothing is missing, else None."""
    header = _header(root, plan)
    try:
        rows = [] if header is None else read_rows(rows_file(root, plan.key, ".jsonl"))
        return None if missing_entries(rows, images, text) else header
    except (OSError, KeyError, TypeError, DataError):
        return None


def _header(root: Path, plan: Plan) -> dict[str, Any] | None:
    """Return the header of a data set whose rows are those it was written for."""
    try:
        header: Any = read_json(rows_file(root, plan.key, ".json"))
        same = header["sha256"] == file_hash(rows_file(root, plan.key, ".jsonl"))
    except (OSError, BadText, KeyError, TypeError):
        return None
    return header if same else None


def finish(
    root: Path, source: RecordSource, plan: Plan, parts: Parts, overlong: Overlong | None
) -> dict[str, Any]:
    """Write the data set of finished parts and return its header.

    Raises:
        DataError: no row is left.
    """
    rows, report = parts.rows(), _report(parts, overlong)
    bad = rows_file(root, plan.key, ".bad.jsonl")
    write_atomic(bad, _lines(row.plain() for row in parts.bad()))
    if not rows:
        why = {**report.dropped, **report.bad}
        listing = ", ".join(f"{reason}: {count}" for reason, count in why.items()) or "it is empty"
        raise DataError(
            f"no row is left of {report.rows} ({listing})",
            where=source.name,
            hint="loosen the filters under `data`, or mend the rows named in " + str(bad),
        )
    path = rows_file(root, plan.key, ".jsonl")
    write_atomic(path, _lines(asdict(row) for row in rows))
    header = {
        "format": CACHE_FORMAT,
        "key": plan.key,
        "name": source.name,
        "split": source.split,
        "reader": source.format,
        "images": dict(plan.images),
        "image_folder": plan.image_folder,
        "text": dict(plan.text),
        "text_folder": plan.text_folder,
        "filters": asdict(plan.filters),
        "sha256": file_hash(path),
        "report": report.plain(),
    }
    write_json(rows_file(root, plan.key, ".json"), header)
    parts.clear()
    return header


def _report(parts: Parts, overlong: Overlong | None) -> Report:
    tally, buckets = Tally(), Counter[str]()
    for row in parts.rows():
        tally.add(row.prompt, [pixels_of(entry) for entry in row.images], row.scores, row.user)
        buckets[row.images[0].split("-")[1].split("+")[0]] += 1
    return make_report(
        tally,
        dropped=parts.dropped(),
        bad=parts.bad_counts(),
        overlong=overlong,
        upscaled=parts.upscaled(),
        buckets=buckets,
    )


def _lines(rows: Iterable[Mapping[str, object]]) -> str:
    return "".join(dumps(row, ensure_ascii=False) + "\n" for row in rows)
