"""Measures every head of train-reward on two feature sets, on the bundled people's votes and more.

    python scripts/bench_heads.py --work FOLDER --out docs/benchmarks/heads.json

The first part is what `diffpref train-reward builtin:pairs` does, for every head, feature set and
seed. The second lets the bundled people, whose tastes are known, vote more: on pictures of the
validation and test parts, which the bundled reward has never seen, so that only the number of
votes limits a head. The third asks why: the same number of votes on pictures the reward was tuned
on, as given and given anew. Every number is kept in FOLDER as it is found, so that a stopped run
goes on, and `--only` lets several processes share the work.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from diffpref.data.source_parts import parts_of
from diffpref.data.votes import read_votes
from diffpref.draws import generator
from diffpref.evaluate.heads import measure, own_scores
from diffpref.evaluate.judged import judged
from diffpref.evaluate.known import Truth, attainable_taste, read_truth, through_features
from diffpref.evaluate.shots import with_people
from diffpref.evaluate.taste import census, recovered
from diffpref.io import write_json
from diffpref.rewards import LoadOptions, load_scorer
from diffpref.rewards.heads import HEADS
from diffpref.rewards.heads.division import By, divide
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.rewards.heads.extras import load_extras, open_extras
from diffpref.rewards.heads.fit import Fitted, fit_head
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.heads.items import Block, scales_of
from diffpref.rewards.heads.pairs import Pairs
from diffpref.rewards.heads.settings import FitSettings

SEEDS = (0, 1, 2)
SPLITS: tuple[By, ...] = ("user", "prompt")
CAUSES = ("given", "tuned", "unseen")
VOTES = (45, 450)
"""Votes of each person the head is trained on; the bundled pairs hold 45."""

NEW = (0, 10, 45)
"""Votes of each new person."""

PIXELS = (
    "brightness",
    "warmth",
    "colourfulness",
    "contrast",
    "edge-energy",
    "coverage",
    "symmetry",
    "centring",
)
SETS: dict[str, tuple[str, ...]] = {
    "embedding": (),
    "with attributes": PIXELS,
    "with attributes and fidelity": (*PIXELS, "world-fidelity"),
}
"""What is read beside the embedding of world-reward."""

Job = tuple[str, Callable[[], dict[str, Any]]]
"""Where a number is kept, and how it is found."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The bundled votes as one feature set shows them, and what is true of them."""

    name: str
    pairs: Pairs
    parts: tuple[str, ...]
    truth: Truth
    ref: EmbedderRef

    def fit(self, name: str, train: Pairs, validation: Pairs, seed: int) -> tuple[Fitted, float]:
        """Return a head, and how long its training took."""
        began = time.monotonic()
        settings = FitSettings(seed=seed)
        fitted = fit_head(name, train, validation, settings, embedder=self.ref)
        return fitted, round(time.monotonic() - began, 1)


@dataclass(frozen=True, kw_only=True)
class Poll:
    """The bundled people, and pictures that their votes have not shown the embedder.

    learned, asked: every two pictures of prompts to learn from and to be tested on.
    tuned: every two pictures of as many prompts that the embedder was tuned on.
    old, new: people to train on, and those of the bundled test part.
    """

    world: World
    learned: Pairs
    tuned: Pairs
    asked: Pairs
    old: tuple[str, ...]
    new: tuple[str, ...]

    def votes(self, table: Pairs, people: Sequence[str], each: int, seed: int, what: str) -> Pairs:
        """Return `each` votes of every person on random pairs of a table."""
        rng = generator(seed, each, f"poll/{what}")
        mine = [table.people.index(name) for name in people]
        rows = torch.randint(0, len(table), (each * len(mine),), generator=rng)
        asked = replace(table.rows(rows), person=torch.tensor(mine).repeat(each))
        luck = torch.rand(len(rows), generator=rng, dtype=torch.float64)
        return replace(asked, share=(luck < self.world.truth.probability(asked)).float())

    def expected(self, logit: torch.Tensor, asked: Pairs) -> float:
        """Return the accuracy expected over all votes that might be given."""
        return judged(logit, self.world.truth.probability(asked), asked.person).accuracy


def open_worlds(work: Path) -> dict[str, World]:
    """Return the bundled votes with every feature set; each picture is read once."""
    sources, scorer = parts_of("builtin:pairs"), load_scorer("world-reward")
    worlds: dict[str, World] = {}
    truth: Truth | None = None
    for name, features in SETS.items():
        store = EmbeddingStore(work / "cache", scorer)
        extras = open_extras(load_extras(features, LoadOptions()), store)
        votes = read_votes(sources, store, extras)
        truth = truth or read_truth(sources, votes.pairs)
        ref = EmbedderRef(
            scorer=scorer.info.id,
            fingerprint=store.fingerprint,
            extras=tuple(each.ref for each in extras),
        )
        worlds[name] = World(name=name, pairs=votes.pairs, parts=votes.parts, truth=truth, ref=ref)
    return worlds


def bundled(world: World, name: str, split: By, seed: int) -> dict[str, Any]:
    """Return the main numbers of a head on the bundled votes."""
    division = divide(world.pairs, world.parts, split)
    fitted, seconds = world.fit(name, division.train, division.validation, seed)
    found = measure(fitted, division, split, world.truth).findings
    taste = found.taste
    assert taste is not None
    known = {"true": taste.true.tolist(), "shown": taste.shown.tolist()} if seed == 0 else {}
    return {
        "features": world.name,
        "head": name,
        "split": split,
        "seed": seed,
        "pairs": {part: len(getattr(division, part)) for part in vars(division)},
        "best_step": fitted.best_step,
        "temperature": fitted.head.temperature,
        "accuracy": [asdict(each) for each in found.contenders],
        "taste": {"cosine": taste.cosine, "personal": taste.personal, **known},
        "ece": found.reliability.ece,
        "seconds": seconds,
        "new_people": _shots(found.shots),
        "attainable_new_people": _shots(found.attainable_shots),
    }


def _shots(found: Sequence[Any]) -> dict[str, float]:
    return {str(each.votes): each.judged.accuracy for each in found}


def make_poll(world: World) -> Poll:
    """Return the people and pictures of the second part; even test prompts are to learn from."""
    pairs = world.pairs
    at = {part: torch.tensor([each == part for each in world.parts]) for part in set(world.parts)}
    new = tuple(pairs.rows(at["test"]).voters())
    held = at["test"] & (pairs.prompt % 2 == 1)
    unseen = ~at["train"] & ~held
    prompts = pairs.rows(at["train"]).prompt.unique()[: len(pairs.rows(unseen).prompt.unique())]
    nobody = ("everyone",)
    tables = replace(pairs, people=(*pairs.people, *nobody))
    learned, tuned, asked = (
        replace(census(tables.rows(rows), nobody), people=pairs.people)
        for rows in (unseen, torch.isin(pairs.prompt, prompts) & at["train"], held)
    )
    old = tuple(name for name in world.truth.tastes if name not in new)
    return Poll(world=world, learned=learned, tuned=tuned, asked=asked, old=old, new=new)


def polled(poll: Poll, name: str, each: int, seed: int) -> dict[str, Any]:
    """Train a head on so many votes of each person and measure whom it knows how well."""
    train = poll.votes(poll.learned, poll.old, each, seed, "train")
    fitted, seconds = poll.world.fit(name, *apart(train, poll.learned), seed)
    head, known = fitted.head, census(poll.asked, poll.old)
    strangers = census(poll.asked, poll.new)
    support = poll.votes(poll.learned, poll.new, max(NEW), seed, "new")
    after: dict[str, float] = {}
    for count in NEW if head.kind.personal else (0,):
        some = {who: support.of(who).rows(torch.arange(count)) for who in poll.new if count}
        judge = with_people(head, some).judge
        after[str(count)] = poll.expected(judge(strangers), strangers)
    logit = head.judge(known)
    truth = poll.world.truth
    taste = recovered(lambda _: logit, known, truth)
    interval = asdict(judged(logit, truth.probability(known), known.person))
    shown = {"true": taste.true.tolist(), "shown": taste.shown.tolist()} if seed == 0 else {}
    return {
        "features": poll.world.name,
        "head": name,
        "votes": each,
        "seed": seed,
        "known": interval["accuracy"],
        "low": interval["low"],
        "high": interval["high"],
        "new": after,
        "taste": {"cosine": taste.cosine, "personal": taste.personal, **shown},
        "best_step": fitted.best_step,
        "temperature": head.temperature,
        "seconds": seconds,
    }


def apart(votes: Pairs, table: Pairs) -> tuple[Pairs, Pairs]:
    """Return votes to train on, and those of every tenth prompt, for early stopping."""
    prompts = table.prompt.unique()
    last = torch.isin(votes.prompt, prompts[torch.arange(len(prompts)) % 10 == 0])
    return votes.rows(~last), votes.rows(last)


def ceilings(poll: Poll, each: int, seed: int) -> dict[str, Any]:
    """Return what anybody could reach with so many votes, for known and for new people."""
    truth = poll.world.truth
    train = poll.votes(poll.learned, poll.old, each, seed, "train")
    support = poll.votes(poll.learned, poll.new, max(NEW), seed, "new")
    known, strangers = census(poll.asked, poll.old), census(poll.asked, poll.new)
    blocks = [Block(width=x.width, saturates=not x.embeds) for x in poll.world.ref.extras]
    seen = through_features(truth, train, known, scales_of(train.sides()[0], blocks))
    found = {
        "features": poll.world.name,
        "votes": each,
        "seed": seed,
        "scorer": poll.expected(own_scores(known), known),
        "seen through the features": poll.expected(seen.own(known), known),
    }
    if poll.world.name != "embedding":
        return found
    tastes = {who: attainable_taste(truth, train.of(who)) for who in poll.old}
    attainable = judged(truth.under(tastes, known), truth.probability(known), known.person)
    new: dict[str, float] = {}
    for count in NEW:
        some = {
            who: attainable_taste(truth, support.of(who).rows(torch.arange(count)))
            for who in poll.new
        }
        new[str(count)] = poll.expected(truth.under(some, strangers), strangers)
    return {
        **found,
        "population": poll.expected(truth.everyone(known), known),
        "attainable": asdict(attainable),
        "attainable_new": new,
        "own": poll.expected(truth.own(known), known),
    }


def caused(poll: Poll, name: str, where: str, seed: int) -> dict[str, Any]:
    """Train on 45 votes a person: on unseen pictures, on tuned ones anew, or as they were given."""
    world = poll.world
    if where == "given":
        votes = divide(world.pairs, world.parts, "user").train
        tuned = torch.isin(votes.prompt, world.pairs.prompt[_in_part(world, "train")])
        old = torch.tensor([world.pairs.people.index(who) for who in poll.old])
        votes = votes.rows(tuned & torch.isin(votes.person, old))
        table = votes
    else:
        table = poll.tuned if where == "tuned" else poll.learned
        votes = poll.votes(table, poll.old, 45, seed, f"cause/{where}")
    unseen = poll.votes(poll.learned, poll.old, 5, seed, "cause/validation")
    fitted, _ = world.fit(name, votes, unseen, seed)
    known = census(poll.asked, poll.old)
    return {
        "features": world.name,
        "head": name,
        "where": where,
        "seed": seed,
        "votes": len(votes),
        "known": poll.expected(fitted.head.judge(known), known),
    }


def _in_part(world: World, part: str) -> torch.Tensor:
    return torch.tensor([each == part for each in world.parts])


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
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
    write_json(asked.out, result)


if __name__ == "__main__":
    main()
