"""The HPS v2 benchmark: four styles of 800 prompts, one JPEG image each, scored by HPS v2."""

from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from diffpref.errors import DataError
from diffpref.evaluate.benchmarks.benchmark import Benchmark, Item, Layout, Line, Summary
from diffpref.evaluate.benchmarks.files import json_list, number, table_rows
from diffpref.evaluate.bootstrap import bootstrap_means

STYLES = ("anime", "concept-art", "paintings", "photo")
PROMPTS = 800
"""In each style."""

GROUP = 80
"""Prompts of one of the ten means whose mean and spread are published."""

Scores = dict[str, dict[int, float]]
"""Style -> number of the prompt -> score."""


def read_hpsv2(path: Path) -> list[Item]:
    """Return the prompts of a folder with a JSON list per style, or of one such list.

    Source: tgxs002/HPSv2, hpsv2.benchmark_prompts; data: zhwang/HPDv2, folder benchmark.

    Raises:
        DataError: there is no list of texts.
    """
    files = [path / f"{style}.json" for style in STYLES] if path.is_dir() else [path]
    there = [file for file in files if file.is_file()]
    if not there:
        hint = f"give the folder with {', '.join(f'{style}.json' for style in STYLES)}"
        raise DataError("holds no prompts of the HPS v2 benchmark", where=str(path), hint=hint)
    found: list[Item] = []
    for file in there:
        for place, prompt in enumerate(json_list(file)):
            if not isinstance(prompt, str) or not prompt.strip():
                where, hint = f"{file}: item {place}", "every item is a prompt"
                raise DataError("is no text", where=where, hint=hint)
            found.append(Item(prompt=prompt, id=f"{file.stem}/{place:05d}", group=file.stem))
    return found


def hpsv2_names(item: Item, n: int) -> list[str]:
    """Return the one name style/00012.jpg.

    Source: the README's Custom Evaluation; its image.save takes Pillow's default JPEG quality, 75,
    and so do we.
    """
    del n
    return [f"{item.id}.jpg"]


def summarise_hpsv2(path: Path) -> Summary:
    """Return, by scorer and style, the mean of ten 80-prompt means with their spread.

    Equation:
        style = mean over groups of 80 consecutive images of the group's mean; spread = standard
        deviation of the group means (divided by 10, not 9); overall = mean over all images

    Missing images shorten the list before it is cut into groups. Intervals are over prompts.

    Source: evaluate_benchmark of hpsv2/evaluation.py, which prints and keeps nothing: the scores
    are those that `diffpref score --out` wrote for images laid out as this benchmark wants.

    Raises:
        DataError: not such a CSV file, or a file name that is not style/number.jpg.
    """
    scorers = _read(path)
    lines: list[Line] = []
    overall: list[Line] = []
    for scorer, scores in scorers.items():
        columns = [_column(scores[style]) for style in scores]
        for style, values in zip(scores, columns, strict=True):
            groups = torch.stack([part.mean() for part in values.split(GROUP)])
            spread = float(groups.std(correction=0)) if len(groups) > 1 else None
            value = float(groups.mean())
            lines.append(_line(f"{scorer} {style}", value, values, spread))
        every = torch.cat(columns)
        overall.append(_line(f"{scorer} overall", float(every.mean()), every, None))
    rule = f"style: mean and spread of the means of {GROUP} prompts; overall: mean over images"
    return Summary(lines=tuple(lines), overall=tuple(overall), rule=rule, notes=_notes(scorers))


def _line(name: str, value: float, values: Tensor, spread: float | None) -> Line:
    (interval,) = bootstrap_means(values[None])
    return Line(
        name=name, value=value, n=len(values), low=interval.low, high=interval.high, spread=spread
    )


def _column(scores: dict[int, float]) -> Tensor:
    return torch.tensor([scores[place] for place in sorted(scores)], dtype=torch.float64)


def _read(path: Path) -> dict[str, Scores]:
    found: dict[str, Scores] = {}
    for line, row in table_rows(path, ("file",)):
        where = f"{path}:{line}"
        name = PurePosixPath(row["file"].replace("\\", "/"))
        if not name.stem.isdecimal() or not name.parent.name:
            hint = "score images that `generate --layout benchmark` wrote for hpsv2"
            raise DataError(f"{name} is not style/number.jpg", where=where, hint=hint)
        for scorer, text in row.items():
            if scorer in {"file", "prompt"}:
                continue
            style = found.setdefault(scorer, {}).setdefault(name.parent.name, {})
            if int(name.stem) in style:
                raise DataError(f"{name} appears twice", where=where, hint="keep one of them")
            style[int(name.stem)] = number(text, where)
    if not found:
        hint = "give the CSV file of `diffpref score IMAGES --scorer hpsv2.1 --out FILE`"
        raise DataError("holds no scores", where=str(path), hint=hint)
    return found


def _notes(scorers: dict[str, Scores]) -> tuple[str, ...]:
    scores = next(iter(scorers.values()))
    notes = [
        f"{style}: {len(scores.get(style, {}))} of {PROMPTS} images; published numbers have all"
        for style in STYLES
        if len(scores.get(style, {})) != PROMPTS
    ]
    flat = [abs(v) for each in scorers.values() for style in each.values() for v in style.values()]
    if max(flat) <= 1:
        notes.append("published numbers of HPS v2 are 100 times the cosine")
    return tuple(notes)


HPSV2 = Benchmark(
    read=read_hpsv2,
    prompts="the folder of anime.json, concept-art.json, paintings.json, photo.json",
    layout=Layout(names=hpsv2_names, published=1, allowed=(1,)),
    summarise=summarise_hpsv2,
    results="the CSV file of `diffpref score`",
)
