"""Measures profiles of new people on new prompts: accuracy after k votes, beside every control.

    python scripts/bench_profiles.py --work FOLDER --out docs/benchmarks/profiles.json

The people of the bundled test part, whom neither the population nor the embedder has seen, vote on
pairs of half of the test prompts (their tastes are known, so they can be asked as often as needed)
and are foreseen on every two pictures of the other half. Accuracy is what is expected over all
votes they might give; intervals are over people. `--part validation` is for trying things.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffpref.data.source_parts import parts_of
from diffpref.data.votes import read_votes
from diffpref.draws import generator
from diffpref.evaluate.bootstrap import bootstrap_means
from diffpref.evaluate.heads import own_scores
from diffpref.evaluate.judged import hits
from diffpref.evaluate.known import Truth, attainable_taste, read_truth, through_features
from diffpref.evaluate.taste import census
from diffpref.io import write_atomic, write_json
from diffpref.rewards import load_scorer
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.rewards.heads.items import scales_of
from diffpref.rewards.heads.pairs import Pairs
from diffpref.users.learn import padded
from diffpref.users.posterior import Belief, Gaps, log_odds, posterior
from diffpref.users.prior import Prior
from diffpref.users.prior_file import find_prior
from diffpref.users.table import table_belief

SHOTS = (1, 2, 4, 8, 16, 32, 64)
DRAWS = 5
"""Different votes drawn for each number of them."""

EXACT_DRAWS = 2
Beliefs = list[Belief]


@dataclass(frozen=True, kw_only=True)
class World:
    """People, pairs they may vote on, pairs they are asked, and what is exactly true of both.

    seen: the truth with the attributes a linear reading of the embedding shows of these pictures.
    """

    prior: Prior
    truth: Truth
    seen: Truth
    people: tuple[str, ...]
    learned: Pairs
    asked: dict[str, Pairs]
    chance: dict[str, Tensor]
    real: dict[str, Pairs]

    def votes(self, shots: int, draw: int) -> list[Pairs]:
        """Return votes of every person on random pairs; the first of many are those of few."""
        found: list[Pairs] = []
        for name in self.people:
            rng = generator(draw, 0, f"bench_profiles/{name}")
            mine = self.learned.of(name)
            rows = torch.randperm(len(mine), generator=rng)[:shots]
            luck = torch.rand(len(mine), generator=rng, dtype=torch.float64)[:shots]
            some = mine.rows(rows)
            found.append(replace(some, share=(luck < self.truth.probability(some)).float()))
        return found

    def accuracy(self, beliefs: Beliefs) -> list[float]:
        """Return the expected accuracy for every person."""
        found: list[float] = []
        for name, belief in zip(self.people, beliefs, strict=True):
            gap = self.prior.gaps(self.asked[name]).gap
            found.append(float(hits(log_odds(belief, gap), self.chance[name]).mean()))
        return found


def make_world(work: Path, part: str) -> World:
    """Return the people of one part of the bundled pairs."""
    prior, parts = find_prior("bt-world"), parts_of("builtin:pairs")
    sources = {name: parts[name] for name in ("train", part)}
    votes = read_votes(sources, EmbeddingStore(work / "cache", load_scorer("world-reward")))
    here = torch.tensor([each == part for each in votes.parts])
    mine, train = votes.pairs.rows(here), votes.pairs.rows(~here)
    truth = read_truth(sources, votes.pairs)
    people = tuple(mine.voters())
    odd = mine.prompt % 2 == 1
    learned, asked = census(mine.rows(~odd), people), census(mine.rows(odd), people)
    each = {name: asked.of(name) for name in people}
    return World(
        prior=prior,
        truth=truth,
        seen=through_features(truth, train, mine, scales_of(train.sides()[0])),
        people=people,
        learned=learned,
        asked=each,
        chance={name: truth.probability(pairs) for name, pairs in each.items()},
        real={name: mine.of(name) for name in people},
    )


def fitted(start: Belief, votes: list[Gaps]) -> Beliefs:
    found = posterior(start, padded(votes))
    return [Belief(mean=m, cov=c) for m, c in zip(found.mean, found.cov, strict=True)]


def contenders(world: World, shots: int, draw: int) -> dict[str, list[float]]:
    """Return the accuracy for every person of every way to use `shots` votes."""
    prior, votes = world.prior, [world.prior.gaps(each) for each in world.votes(shots, draw)]
    own = fitted(prior.belief, votes)
    rng = generator(draw, shots, "bench_profiles/flips")
    flips = [
        replace(each, share=torch.randint(0, 2, each.share.shape, generator=rng).float())
        for each in votes
    ]
    size = len(prior.belief.mean)
    flat = Belief(mean=0 * prior.belief.mean, cov=torch.eye(size, dtype=torch.float64))
    return {
        "profile": world.accuracy(own),
        "table": world.accuracy([table_belief(prior, each) for each in votes]),
        "another's profile": world.accuracy([*own[1:], own[0]]),
        "shuffled labels": world.accuracy(fitted(prior.belief, flips)),
        "flat prior": world.accuracy(fitted(flat, votes)),
    }


def attainable(world: World, truth: Truth, shots: int, draw: int) -> list[float]:
    """Return what the same votes allow in attributes under the true prior of tastes."""
    found: list[float] = []
    for name, votes in zip(world.people, world.votes(shots, draw), strict=True):
        taste = attainable_taste(truth, votes)
        logit = truth.gaps(world.asked[name]) @ taste
        found.append(float(hits(logit, world.chance[name]).mean()))
    return found


def without_votes(world: World) -> dict[str, list[float]]:
    """Return what is known without votes, and the ceilings that no vote can lift."""
    everyone = [world.prior.belief] * len(world.people)

    def judged(judge: Callable[[Pairs], Tensor]) -> list[float]:
        return [
            float(hits(judge(world.asked[name]), world.chance[name]).mean())
            for name in world.people
        ]

    return {
        "population": world.accuracy(everyone),
        "scorer alone": judged(own_scores),
        "exact population": judged(world.truth.everyone),
        "exact taste through the embedding": judged(world.seen.own),
        "exact own taste": judged(world.truth.own),
    }


def real_votes(world: World) -> dict[str, Any]:
    """Return the accuracy on half of the bundled votes of each person, after the other half."""
    own: list[float] = []
    everyone: list[float] = []
    for name in world.people:
        mine = world.real[name]
        odd = mine.prompt % 2 == 1
        seen, asked = (world.prior.gaps(mine.rows(rows)) for rows in (~odd, odd))
        belief = posterior(world.prior.belief, seen)
        for found, each in ((own, belief), (everyone, world.prior.belief)):
            found.append(float(hits(log_odds(each, asked.gap), asked.share).mean()))
    return {"profile": interval(own), "population": interval(everyone)}


def interval(values: list[float]) -> dict[str, float]:
    low, high = bootstrap_means(torch.tensor(values, dtype=torch.float64)[None])[0]
    return {"mean": sum(values) / len(values), "low": low, "high": high}


def measured(world: World) -> dict[str, Any]:
    fixed = without_votes(world)
    rows: dict[str, dict[str, Any]] = {}
    for shots in SHOTS:
        draws = [contenders(world, shots, draw) for draw in range(DRAWS)]
        many = range(EXACT_DRAWS)
        exact = [attainable(world, world.truth, shots, draw) for draw in many]
        seen = [attainable(world, world.seen, shots, draw) for draw in many]
        mean: dict[str, list[float]] = {
            name: _mean([each[name] for each in draws]) for name in draws[0]
        }
        mean["attainable through the embedding"] = _mean(seen)
        mean["attainable in exact attributes"] = _mean(exact)
        rows[str(shots)] = {name: interval(each) for name, each in mean.items()}
        for other, values in (
            ("population", fixed["population"]),
            ("another's profile", mean["another's profile"]),
        ):
            ahead = [a - b for a, b in zip(mean["profile"], values, strict=True)]
            rows[str(shots)][f"profile minus {other}"] = interval(ahead)
    return {
        "population": {"sha256": world.prior.sha256, **world.prior.about},
        "people": len(world.people),
        "asked": sum(map(len, world.asked.values())),
        "draws": DRAWS,
        "embedder": asdict(world.prior.embedder),
        "without_votes": {name: interval(each) for name, each in fixed.items()},
        "votes": rows,
        "bundled_votes": real_votes(world),
    }


def page(found: Mapping[str, Any]) -> str:
    """Return the tables as a page."""
    names = list(found["votes"]["1"])
    head = ["votes of the person", *map(str, SHOTS)]
    lines = [
        "# Profiles of new people, measured",
        "",
        "Written by `scripts/bench_profiles.py`; the words are in [profiles.md](../profiles.md). "
        f"{found['people']} people of the bundled {found['part']} part, {found['asked']:,} pairs "
        "of prompts nobody learned from; expected accuracy, means over "
        f"{found['draws']} draws of votes (attainable: {EXACT_DRAWS}), 95 % bootstrap over people "
        "in brackets.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for name in names:
        cells = [_cell(found["votes"][str(shots)][name], "minus" in name) for shots in SHOTS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| without votes | |", "|---|---|"]
    lines += [f"| {name} | {_cell(each)} |" for name, each in found["without_votes"].items()]
    lines += [
        "",
        "| the bundled votes themselves, half of a person's after the rest | |",
        "|---|---|",
    ]
    lines += [f"| {name} | {_cell(each)} |" for name, each in found["bundled_votes"].items()]
    return "\n".join(lines) + "\n"


def _cell(value: Mapping[str, float], signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    return f"{value['mean']:{form}} ({value['low']:{form}} to {value['high']:{form}})"


def _mean(rows: list[list[float]]) -> list[float]:
    return [sum(each) / len(each) for each in zip(*rows, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {"part": asked.part, **measured(make_world(asked.work, asked.part))}
    write_json(asked.out, found)
    write_atomic(asked.out.with_suffix(".md"), page(found))


if __name__ == "__main__":
    main()
