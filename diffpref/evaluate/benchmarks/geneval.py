"""GenEval: 553 prompts of six tasks, four images each, judged by an object detector."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from diffpref.errors import DataError
from diffpref.evaluate.benchmarks.benchmark import Benchmark, Item, Layout, Line, Summary
from diffpref.evaluate.benchmarks.files import field, json_lines, text_field
from diffpref.evaluate.bootstrap import percentiles, resampled_means

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
PROMPTS = 553

Marks = dict[str, dict[str, list[bool]]]
"""Task -> prompt -> whether each image is correct."""


def read_geneval(path: Path) -> list[Item]:
    """Return the prompts of evaluation_metadata.jsonl with the task and the whole line.

    Source: djghosh13/geneval, prompts/evaluation_metadata.jsonl.

    Raises:
        DataError: a line has no prompt or no tag.
    """
    found: list[Item] = []
    for line, row in json_lines(path):
        where = f"{path}:{line}"
        prompt, task = text_field(row, "prompt", where), text_field(row, "tag", where)
        found.append(Item(prompt=prompt, id=f"{len(found):05d}", group=task, more=row))
    return found


def geneval_names(item: Item, n: int) -> list[str]:
    """Return 00012/samples/00000.png and on, for the prompt of line 12.

    Source: generation/diffusers_generate.py writes five digits; the README shows four, and
    evaluation/evaluate_images.py reads any digits, so both work.
    """
    return [f"{item.id}/samples/{k:05d}.png" for k in range(n)]


def geneval_notes(item: Item) -> Mapping[str, str]:
    """Return metadata.jsonl, the prompt's line of the metadata file, which the evaluator reads."""
    return {f"{item.id}/metadata.jsonl": json.dumps(item.more)}


def summarise_geneval(path: Path) -> Summary:
    """Return the share of correct images per task and the unweighted mean over tasks.

    Equation:
        overall = mean over tasks of (correct images of the task / images of the task)

    Intervals resample prompts within their tasks, so that all tasks stay in the mean.

    Source: evaluation/summary_scores.py, which prints the same numbers without intervals.

    Raises:
        DataError: not the results.jsonl of evaluate_images.py.
    """
    marks = _read(path)
    values, intervals = [], []
    lines: list[Line] = []
    for number, (task, prompts) in enumerate(marks.items()):
        right = torch.tensor([[float(sum(m)), float(len(m))] for m in prompts.values()]).double().T
        above, below = resampled_means(right, seed=number)
        values.append(float(right[0].sum() / right[1].sum()))
        intervals.append(above / below)
        low, high = percentiles(above / below)
        lines.append(Line(name=task, value=values[-1], n=int(right[1].sum()), low=low, high=high))
    every = [m for prompts in marks.values() for m in prompts.values()]
    images = sum(map(len, every))
    low, high = percentiles(torch.stack(intervals).mean(dim=0))
    overall = (
        Line(
            name="overall", value=sum(values) / len(values), n=len(values), unit="tasks",
            low=low, high=high,
        ),
        Line(name="correct images", value=sum(map(sum, every)) / images, n=images),
        Line(name="correct prompts (any image)", value=sum(map(any, every)) / len(every),
             n=len(every), unit="prompts"),
    )  # fmt: skip
    rule = "overall is the unweighted mean over tasks"
    return Summary(lines=tuple(lines), overall=overall, rule=rule, notes=_notes(marks, every))


def _read(path: Path) -> Marks:
    marks: Marks = {}
    for line, row in json_lines(path):
        where = f"{path}:{line}"
        task, prompt = text_field(row, "tag", where), text_field(row, "metadata", where)
        correct = bool(field(row, "correct", bool, where))
        marks.setdefault(task, {}).setdefault(prompt, []).append(correct)
    if not marks:
        hint = "give the --outfile of GenEval's evaluate_images.py"
        raise DataError("holds no results", where=str(path), hint=hint)
    return marks


def _notes(marks: Marks, every: Sequence[Sequence[bool]]) -> tuple[str, ...]:
    notes: list[str] = []
    if missing := [task for task in TASKS if task not in marks]:
        notes.append(f"not the published mean of six tasks: {', '.join(missing)} missing")
    if len(every) != PROMPTS:
        notes.append(f"{len(every)} of {PROMPTS} prompts")
    if sizes := {len(m) for m in every} - {GENEVAL_LAYOUT.published}:
        shown = ", ".join(map(str, sorted(sizes)))
        notes.append(f"some prompts have {shown} images; published numbers have 4 each")
    return tuple(notes)


GENEVAL_LAYOUT = Layout(names=geneval_names, notes=geneval_notes, published=4)
GENEVAL = Benchmark(
    read=read_geneval,
    prompts="evaluation_metadata.jsonl",
    layout=GENEVAL_LAYOUT,
    summarise=summarise_geneval,
    results="results.jsonl of evaluate_images.py",
)
