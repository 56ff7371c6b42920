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
LABELS, LISTS = "labels.jsonl", "lists"


def overrides_of(data: Data, work: Path) -> list[str]:
    """Return the data settings of a row."""
    if data == "votes":
        return [f"data.source={SOURCE}"]
    if data == "unpaired":
        return [f"data.source={SOURCE}", "data.unpaired=true"]
    if data == "reward":
        return [f"data.source={SOURCE}", f"data.labels={work / LABELS}"]
    return [f"data.source={work / LISTS}", "data.format=jsonl"]


def prepare(data: Data, work: Path) -> None:
    """Make what a row's data need under `work`, if it is not there."""
    if data == "reward" and not (work / LABELS).exists():
        code = diffpref(["label", "pairs", SOURCE, "--scorer", SCORER, "--out", str(work / LABELS)])
        if code:
            raise SystemExit(code)
    if data == "lists" and not (work / LISTS / "metadata.jsonl").exists():
        write_jsonl(work / LISTS, _lists())


def _lists() -> Iterator[Record]:
    """Yield one record per prompt with all its images, scored by the reward."""
    scorer = load_scorer(SCORER)
    rows = (row for row in open_records(SOURCE).rows() if isinstance(row, Record))
    for prompt, group in groupby(rows, key=lambda row: row.prompt):
        records = list(group)
        images = tuple(image for record in records for image in record.images)
        scores = scorer.score([image_data(image) for image in images], prompt).values.tolist()
        yield replace(records[0], images=images, scores=tuple(scores), user=None)
