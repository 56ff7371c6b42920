"""DPG-Bench: 1,065 dense prompts, four images each in one 2 x 2 picture, judged by questions."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from diffpref.errors import DataError
from diffpref.evaluate.benchmarks.benchmark import Benchmark, Item, Layout, Line, Summary
from diffpref.evaluate.benchmarks.files import read_text, table_rows, text_lines
from diffpref.evaluate.bootstrap import bootstrap_means

if TYPE_CHECKING:
    import PIL.Image

PROMPTS = 1065
NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
IMAGE = re.compile(rf"(?P<path>.+?)(?P<scores>(?:, {NUMBER}){{2,}})")
"""A line of the result file: the image, a score per crop, and their mean."""

CATEGORY = re.compile(rf"\t(?P<name>.+): (?P<value>{NUMBER})")
LEVELS = {"L1 category scores:": "L1", "L2 category scores:": "L2"}
FINAL = "DPG-Bench score: "
CAVEAT = (
    "L1 and L2 are the evaluator's own: answers of the last crop only, not gated by the questions "
    "they depend on, unlike the overall score"
)


def read_dpg(path: Path) -> list[Item]:
    """Return the prompts of a folder of .txt files, or of dpg_bench.csv; ids name the images.

    Source: TencentQQGYLab/ELLA, dpg_bench/prompts and dpg_bench.csv (columns item_id, text).

    Raises:
        DataError: no such files, or an id the evaluator cannot tell from a file ending.
    """
    if path.is_dir():
        texts = {file.stem: read_text(file).strip() for file in sorted(path.glob("*.txt"))}
    else:
        rows = table_rows(path, ("item_id", "text"))
        texts = {row["item_id"].strip(): row["text"].strip() for _, row in rows}
    if not texts:
        hint = "give the folder dpg_bench/prompts, or dpg_bench.csv"
        raise DataError("holds no prompts", where=str(path), hint=hint)
    for name, text in texts.items():
        if not name or "." in name or not text:
            what = "has an empty prompt" if name and "." not in name else "is no id of DPG-Bench"
            hint = "an id has no dot, and its text is not empty"
            raise DataError(f"'{name}' {what}", where=str(path), hint=hint)
    return [Item(prompt=text, id=name) for name, text in texts.items()]


def dpg_names(item: Item, n: int) -> list[str]:
    """Return the one name partiprompts12.png: the evaluator finds the questions by it."""
    del n
    return [f"{item.id}.png"]


def two_by_two(pictures: "Sequence[PIL.Image.Image]") -> "PIL.Image.Image":
    """Return one picture alone, or four by rows, as the crops of compute_dpg_bench.py lie.

    Raises:
        DataError: the pictures are not square: the crops are.
    """
    from PIL import Image

    first = pictures[0]
    width, height = first.size
    if width != height:
        hint = "make square images: the evaluator has one --resolution"
        raise DataError(f"the images are {width}x{height}", where="--layout", hint=hint)
    if len(pictures) == 1:
        return first
    sheet = Image.new("RGB", (2 * width, 2 * height))
    for k, picture in enumerate(pictures):
        sheet.paste(picture, (k % 2 * width, k // 2 * height))
    return sheet


def summarise_dpg(path: Path) -> Summary:
    """Return the mean score over images, in percent, with the categories as they were printed.

    Equation:
        image = mean over its crops of the share of questions answered yes, where a question
        counts only if those it depends on are answered yes; overall = 100 x mean over images

    Source: compute_dpg_bench.py, whose --res-path file this reads.

    Raises:
        DataError: not such a file, or two runs wrote into it.
    """
    means: dict[str, float] = {}
    lines: list[Line] = []
    printed, level = None, ""
    for number, line in text_lines(path):
        if image := IMAGE.fullmatch(line):
            name = image["path"]
            if name in means:
                hint = "two runs wrote into this file: run the evaluator once more"
                raise DataError(f"{name} appears twice", where=f"{path}:{number}", hint=hint)
            means[name] = float(image["scores"].split(", ")[-1])
        elif line in LEVELS:
            level = LEVELS[line]
        elif level and (category := CATEGORY.fullmatch(line)):
            name = f"{level} {category['name']}"
            lines.append(Line(name=name, value=float(category["value"]), n=0, unit="(as printed)"))
        elif line.startswith(FINAL):
            printed = float(line.removeprefix(FINAL))
    if not means:
        hint = "give the file that dist_eval.sh writes beside the images, not its _detail.txt"
        raise DataError("holds no scores of images", where=str(path), hint=hint)
    values = 100 * torch.tensor(list(means.values()), dtype=torch.float64)
    (interval,) = bootstrap_means(values[None])
    mean = float(values.mean())
    return Summary(
        lines=tuple(lines),
        overall=(
            Line(name="overall", value=mean, n=len(means), low=interval.low, high=interval.high),
        ),
        rule="overall is 100 x the mean over images of dependency-gated questions answered yes",
        notes=_notes(len(means), mean, printed, bool(lines)),
    )


def _notes(images: int, mean: float, printed: float | None, categories: bool) -> tuple[str, ...]:
    notes = [CAVEAT] if categories else []
    if images != PROMPTS:
        notes.append(f"{images} of {PROMPTS} images: the evaluator passes over those that fail")
    if printed is None:
        notes.append("the evaluator did not finish: its last line is missing")
    elif abs(printed - mean) > 1e-3:
        notes.append(f"the evaluator printed {printed:.4f}, its lines say {mean:.4f}")
    return tuple(notes)


DPG = Benchmark(
    read=read_dpg,
    prompts="the folder dpg_bench/prompts, or dpg_bench.csv",
    layout=Layout(names=dpg_names, published=4, allowed=(1, 4), join=two_by_two),
    summarise=summarise_dpg,
    results="the results .txt of compute_dpg_bench.py",
)
