"""What a user writes for a benchmark's prompts: its name, a colon, and their own file."""

from collections.abc import Sequence
from pathlib import Path

from diffpref.errors import DataError, UsageError
from diffpref.evaluate.benchmarks import BENCHMARKS, Benchmark, Item, Layout


def is_benchmark(source: str) -> bool:
    """Say whether a source is written NAME:FILE with the name of a benchmark."""
    name, colon, _ = source.partition(":")
    return bool(colon) and name in BENCHMARKS


def read_benchmark(source: str, *, limit: int | None = None) -> tuple[Benchmark, list[Item]]:
    """Return the benchmark a source names and its prompts.

    Args:
        source: NAME:FILE, for which `is_benchmark` holds.
        limit: prompts, from the top; None reads all.

    Raises:
        DataError: there is no such file, or it is not this benchmark's.
    """
    name, _, place = source.partition(":")
    benchmark, path = BENCHMARKS[name], Path(place)
    hint = f"{name} reads {benchmark.prompts}"
    if not path.exists():
        raise DataError("there is no such file or folder", where=source, hint=hint)
    items = benchmark.read(path)
    if not items:
        raise DataError("holds no prompts", where=source, hint=hint)
    return benchmark, items[:limit]


def arranged_prompts(source: str, *, limit: int | None = None) -> tuple[list[Item], Layout]:
    """Return the prompts of a benchmark and the layout its evaluator reads.

    Raises:
        UsageError: the source is no benchmark's, or the benchmark has no evaluator.
        DataError: as `read_benchmark`.
    """
    arranged = [name for name, each in BENCHMARKS.items() if each.layout is not None]
    hint = f"write --prompts NAME:FILE; with a layout of their own: {', '.join(arranged)}"
    if not is_benchmark(source):
        raise UsageError("names no benchmark", where=f"--prompts {source}".rstrip(), hint=hint)
    benchmark, items = read_benchmark(source, limit=limit)
    if benchmark.layout is None:
        what = "this benchmark has no evaluator: its images lie in one folder"
        raise UsageError(what, where=f"--prompts {source}", hint=f"leave out --layout; {hint}")
    return items, benchmark.layout


def flat_prompts(prompts: Sequence[str], seeds: Sequence[int]) -> tuple[list[Item], Layout]:
    """Return plain prompts and the layout of one folder: 0012-3.png is prompt 12 with seed 3."""

    def names(item: Item, n: int) -> list[str]:
        return [f"{int(item.id):04d}-{seed}.png" for seed in seeds[:n]]

    items = [Item(prompt=prompt, id=str(number)) for number, prompt in enumerate(prompts)]
    return items, Layout(names=names, published=1)
