"""ImageReward's benchmark of models: 100 prompts, ten images each, scored by ImageReward."""

from pathlib import Path

import torch

from diffpref.errors import DataError
from diffpref.evaluate.benchmarks.benchmark import Benchmark, Item, Layout, Line, Summary
from diffpref.evaluate.benchmarks.files import field, json_list, text_field
from diffpref.evaluate.bootstrap import bootstrap_means

PROMPTS = 100


def read_imagereward(path: Path) -> list[Item]:
    """Return the prompts of benchmark-prompts.json.

    Source: THUDM/ImageReward, benchmark/benchmark-prompts.json.

    Raises:
        DataError: not a list of objects with id and prompt.
    """
    found: list[Item] = []
    for number, row in enumerate(json_list(path)):
        where = f"{path}: item {number}"
        prompt, name = text_field(row, "prompt", where), text_field(row, "id", where)
        found.append(Item(prompt=prompt, id=name))
    return found


def imagereward_names(item: Item, n: int) -> list[str]:
    """Return 005937-0167_0.png and on: the folder is one model's, below --img_dir.

    Source: test-benchmark.py, which divides the number of files by the number of prompts.
    """
    return [f"{item.id}_{k}.png" for k in range(n)]


def summarise_imagereward(path: Path) -> Summary:
    """Return the mean over prompts of the mean reward of a prompt's images.

    Source: test-benchmark.py, its file SCORER-benchmark-MODEL-result.json.

    Raises:
        DataError: not such a file.
    """
    means: list[float] = []
    images = 0
    for number, row in enumerate(json_list(path)):
        where = f"{path}: item {number}"
        means.append(float(str(field(row, "mean_score", (int, float), where))))
        rewards = field(row, "rewards", (list, int, float), where)
        images += len(rewards) if isinstance(rewards, list) else 1
    if not means:
        hint = "give SCORER-benchmark-MODEL-result.json of test-benchmark.py"
        raise DataError("holds no results", where=str(path), hint=hint)
    values = torch.tensor(means, dtype=torch.float64)
    (interval,) = bootstrap_means(values[None])
    short = f"{len(means)} prompts, {images} images; published numbers have 100 and 1000"
    line = Line(
        name="overall", value=float(values.mean()), n=len(means), unit="prompts",
        low=interval.low, high=interval.high,
    )  # fmt: skip
    return Summary(
        lines=(),
        overall=(line,),
        rule="mean over prompts of the mean reward of their images",
        notes=() if (len(means), images) == (PROMPTS, 10 * PROMPTS) else (short,),
    )


IMAGEREWARD = Benchmark(
    read=read_imagereward,
    prompts="benchmark-prompts.json",
    layout=Layout(names=imagereward_names, published=10),
    summarise=summarise_imagereward,
    results="SCORER-benchmark-MODEL-result.json of test-benchmark.py",
)
