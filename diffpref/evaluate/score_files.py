"""Scores of images as a file: CSV for people, parquet for tables, JSON for everything else."""

import csv
import json
from dataclasses import asdict
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import Any

from diffpref.errors import UsageError
from diffpref.evaluate.scoring import ScoredImages
from diffpref.io import write_atomic

SCHEMA = "diffpref-scores/1"


def check_ending(path: Path) -> None:
    """Refuse a file whose ending says no format.

    Raises:
        UsageError: it does not end in .csv, .parquet or .json.
    """
    if path.suffix not in WRITERS:
        hint = f"write --out {path.with_suffix('.csv').name}"
        endings = ", ".join(WRITERS)
        raise UsageError(f"must end in one of {endings}", where=f"--out {path}", hint=hint)


def write_scores(path: Path, scored: ScoredImages) -> None:
    """Write all scores as a whole; the ending decides the format.

    A missing score is an empty cell or null. Parquet and JSON also hold what identifies each
    scorer.

    Raises:
        UsageError: an ending that says no format.
        DiskError: the file cannot be written.
    """
    check_ending(path)
    write_atomic(path, WRITERS[path.suffix](scored))


def plain_rows(scored: ScoredImages) -> list[dict[str, Any]]:
    """Return one JSON object per image."""
    return [
        {
            "file": str(file),
            "prompt": scored.prompts[row],
            "scores": {
                name: each[row].value if isfinite(each[row].value) else None
                for name, each in scored.verdicts.items()
            },
            "flags": {name: list(each[row].flags) for name, each in scored.verdicts.items()},
            "reasons": {
                name: each[row].reason for name, each in scored.verdicts.items() if each[row].reason
            },
        }
        for row, file in enumerate(scored.files)
    ]


def _csv(scored: ScoredImages) -> str:
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "prompt", *scored.verdicts, "flags", "reasons"])
    for row in plain_rows(scored):
        flags = " ".join(f"{name}={flag}" for name, each in row["flags"].items() for flag in each)
        reasons = "; ".join(f"{name}: {reason}" for name, reason in row["reasons"].items())
        scores = ["" if value is None else value for value in row["scores"].values()]
        table.writerow([row["file"], row["prompt"], *scores, flags, reasons])
    return text.getvalue()


def _json(scored: ScoredImages) -> str:
    document = {"schema": SCHEMA, "scorers": _infos(scored), "images": plain_rows(scored)}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _parquet(scored: ScoredImages) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = plain_rows(scored)
    columns: dict[str, Any] = {
        "file": pa.array([row["file"] for row in rows], pa.string()),
        "prompt": pa.array([row["prompt"] for row in rows], pa.string()),
    }
    texts = pa.list_(pa.string())
    for name in scored.verdicts:
        columns[name] = pa.array([row["scores"][name] for row in rows], pa.float64())
        columns[f"{name}.flags"] = pa.array([row["flags"][name] for row in rows], texts)
        columns[f"{name}.reason"] = pa.array(
            [row["reasons"].get(name) for row in rows], pa.string()
        )
    told = {"schema": SCHEMA, "scorers": json.dumps(_infos(scored))}
    table = pa.table(columns).replace_schema_metadata(told)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def _infos(scored: ScoredImages) -> dict[str, Any]:
    return {name: asdict(info) for name, info in scored.infos.items()}


WRITERS = {".csv": _csv, ".parquet": _parquet, ".json": _json}
"""Ending -> how the file is made."""
