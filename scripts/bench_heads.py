"""Measures every head of train-reward on three feature sets, on the bundled votes and more.

    python -m scripts.bench_heads --work FOLDER --out docs/benchmarks/heads.json

The first part is what `diffpref train-reward builtin:pairs` does, for every head, feature set and
seed. The second lets the bundled people, whose tastes are known, vote more: on pictures of the
validation and test parts, which the bundled reward has never seen, so that only the number of
votes limits a head. The third asks why: the same number of votes on pictures the reward was tuned
on, as given and given anew. Every number is kept in FOLDER as it is found, so that a stopped run
goes on, and `--only` lets several processes share the work.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from diffpref.io import write_atomic, write_json
from diffpref.rewards.heads import HEADS
from diffpref.rewards.heads.division import By
from scripts.heads.figure import draw
from scripts.heads.measures import bundled, caused, ceilings, polled
from scripts.heads.poll import Poll, make_poll
from scripts.heads.table import table
from scripts.heads.worlds import World, open_worlds

SEEDS = (0, 1, 2)
SPLITS: tuple[By, ...] = ("user", "prompt")
CAUSES = ("given", "tuned", "unseen")
DIGITS = 4
VOTES = (45, 450)
"""Votes of each person the head is trained on; the bundled pairs hold 45."""

Job = tuple[str, Callable[[], dict[str, Any]]]
"""Where a number is kept, and how it is found."""


def jobs(worlds: dict[str, World]) -> Iterator[Job]:
    """Yield all there is to measure."""
    polls = [make_poll(world) for world in worlds.values()]
    for seed, poll in product(SEEDS, polls):
        yield from _polled(poll, seed)
    for seed, split, world, head in product(SEEDS, SPLITS, worlds.values(), HEADS):
        where = f"bundled/{world.name}-{head}-{split}-{seed}"
        yield where, partial(bundled, world, head, split, seed)


def _polled(poll: Poll, seed: int) -> Iterator[Job]:
    name = poll.world.name
    for each in VOTES:
        yield f"ceilings/{name}-{each}-{seed}", partial(ceilings, poll, each, seed)
    for head, each in product(HEADS, VOTES):
        yield f"polled/{name}-{head}-{each}-{seed}", partial(polled, poll, head, each, seed)
    for head, where in product(
        ("bradley-terry", "lore"), CAUSES if not poll.world.ref.extras else ()
    ):
        yield f"causes/{head}-{where}-{seed}", partial(caused, poll, head, where, seed)


def brief(found: Any) -> Any:
    """Return what was found without every person's taste, rounded to what three seeds can say."""
    if isinstance(found, dict):
        kept = {key: each for key, each in found.items() if key not in ("true", "shown")}
        return {key: brief(each) for key, each in kept.items()}
    if isinstance(found, list):
        return [brief(each) for each in found]
    return round(found, DIGITS) if isinstance(found, float) else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path, help="where to draw recovered tastes")
    parser.add_argument("--only", default="", help="measure only what begins so, by commas")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, list[Any]] = {}
    for name, job in jobs(open_worlds(asked.work)):
        path = asked.work / "found" / f"{name.replace(' ', '-')}.json"
        if not path.exists() and name.startswith(tuple(asked.only.split(","))):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, job())
        if path.exists():
            result.setdefault(name.partition("/")[0], []).append(json.loads(path.read_text()))
    told = brief(result)
    write_json(asked.out, told)
    write_atomic(asked.out.with_suffix(".md"), table(told).encode())
    if asked.picture is not None:
        write_atomic(asked.picture, draw(result.get("polled", [])))


if __name__ == "__main__":
    main()
