"""The bundled pairs in the four forms that methods learn from."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from diffpref.cli import main as diffpref
from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.data.writers import image_data, write_jsonl
from diffpref.rewards import load_scorer
from scripts.board.rows import Data

SOURCE = "builtin:pairs"
SCORER = "world-reward"


def overrides_of(data: Data, work: Path) -> list[str]:
    """Return the data settings of a row, making what is missing under `work`."""
    if data == "votes":
        return [f"data.source={SOURCE}"]
    if data == "unpaired":
        return [f"data.source={SOURCE}", "data.unpaired=true"]
    if data == "reward":
        table = work / "labels.jsonl"
        if not table.exists():
            code = diffpref(["label", "pairs", SOURCE, "--scorer", SCORER, "--out", str(table)])
            if code:
                raise SystemExit(code)
        return [f"data.source={SOURCE}", f"data.labels={table}"]
    folder = work / "lists"
    if not (folder / "metadata.jsonl").exists():
        write_jsonl(folder, _lists())
    return [f"data.source={folder}", "data.format=jsonl"]


def _lists() -> Iterator[Record]:
    """Yield one record per prompt with all its images, scored by the reward."""
    scorer = load_scorer(SCORER)
    rows = (row for row in open_records(SOURCE).rows() if isinstance(row, Record))
    for prompt, group in groupby(rows, key=lambda row: row.prompt):
        records = list(group)
        images = tuple(image for record in records for image in record.images)
        scores = scorer.score([image_data(image) for image in images], prompt).values.tolist()
        yield replace(records[0], images=images, scores=tuple(scores), user=None)
