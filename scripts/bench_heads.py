"""Measures every head of train-reward: on the bundled votes, and on further votes of its people.

    python scripts/bench_heads.py --work FOLDER --out docs/benchmarks/heads.json

The first part is `diffpref train-reward builtin:pairs` for every head, split and seed. The second
lets the bundled people, whose tastes are known, vote more: on pictures of the validation and test
parts, which the bundled reward has never seen, so that only the number of votes limits a head.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from diffpref.data.source_parts import parts_of
from diffpref.data.votes import read_votes
from diffpref.draws import generator
from diffpref.evaluate.heads import own_scores
from diffpref.evaluate.judged import judged
from diffpref.evaluate.known import Truth, attainable_taste, read_truth, through_embedding
from diffpref.evaluate.shots import with_people
from diffpref.evaluate.taste import census, recovered
from diffpref.io import write_json
from diffpref.rewards import LoadedScorer, load_scorer
from diffpref.rewards.heads import HEADS
from diffpref.rewards.heads.division import By
from diffpref.rewards.heads.embeddings import EmbeddingStore, fingerprint
from diffpref.rewards.heads.fit import fit_head
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.heads.pairs import Pairs
from diffpref.rewards.heads.settings import FitSettings
from diffpref.run.train_reward import RewardJob, train_reward

SEEDS = (0, 1, 2)
SPLITS: tuple[By, ...] = ("user", "prompt")
VOTES = (45, 150, 450)
"""Votes of each person the head is trained on; the bundled pairs hold 45."""

NEW = (0, 10, 45)
"""Votes of each new person."""


@dataclass(frozen=True, kw_only=True)
class Poll:
    """The bundled people, and pictures that their votes have not shown the embedder.

    learned, asked: every two pictures of prompts to learn from and to be tested on.
    old, new: people to train on, and those of the bundled test part.
    """

    truth: Truth
    learned: Pairs
    asked: Pairs
    old: tuple[str, ...]
    new: tuple[str, ...]

    def votes(self, people: Sequence[str], each: int, seed: int, what: str) -> Pairs:
        """Return `each` votes of every person on random pairs to learn from."""
        rng = generator(seed, each, f"poll/{what}")
        mine = [self.learned.people.index(name) for name in people]
        rows = torch.randint(0, len(self.learned), (each * len(mine),), generator=rng)
        asked = replace(self.learned.rows(rows), person=torch.tensor(mine).repeat(each))
        luck = torch.rand(len(rows), generator=rng, dtype=torch.float64)
        return replace(asked, share=(luck < self.truth.probability(asked)).float())


def bundled(scorer: LoadedScorer, work: Path) -> list[dict[str, Any]]:
    """Return the main numbers of every head, split and seed."""
    found: list[dict[str, Any]] = []
    for name in HEADS:
        for split in SPLITS:
            for seed in SEEDS:
                out = work / f"{name}-{split}-{seed}"
                if not (out / "report.json").exists():
                    fit = FitSettings(seed=seed)
                    job = RewardJob(
                        source="builtin:pairs",
                        head=name,
                        out=out,
                        cache=work / "cache",
                        by=split,
                        fit=fit,
                    )
                    train_reward(job, scorer)
                found.append(shortened(json.loads((out / "report.json").read_text())))
    return found


def shortened(summary: dict[str, Any]) -> dict[str, Any]:
    """Return what of a report.json goes into the table."""
    names = ("head", "split", "pairs", "people", "best_step", "temperature", "accuracy", "taste")
    shots = ("new_people", "attainable_new_people")
    return {
        **{name: summary[name] for name in names},
        "seed": summary["settings"]["seed"],
        "ece": summary["reliability"]["ece"],
        "seconds": summary["seconds"]["train"],
        **{name: {str(x["votes"]): x["accuracy"] for x in summary[name]} for name in shots},
    }


def make_poll(scorer: LoadedScorer, work: Path) -> Poll:
    """Return the people and pictures of the second part; even test prompts are to learn from."""
    sources = parts_of("builtin:pairs")
    unseen = {part: sources[part] for part in ("validation", "test")}
    votes = read_votes(unseen, EmbeddingStore(work / "cache", scorer))
    truth = read_truth(unseen, votes.pairs)
    test = torch.tensor([part == "test" for part in votes.parts])
    new = tuple(votes.pairs.rows(test).voters())
    old = tuple(name for name in truth.tastes if name not in new)
    pairs = replace(votes.pairs, people=(*old, *new))
    held = test & (pairs.prompt % 2 == 1)
    nobody = ("everyone",)
    tables = replace(pairs, people=(*pairs.people, *nobody))
    learned, asked = (
        replace(census(tables.rows(rows), nobody), people=pairs.people) for rows in (~held, held)
    )
    return Poll(truth=truth, learned=learned, asked=asked, old=old, new=new)


def polled(poll: Poll, name: str, each: int, seed: int, embedder: EmbedderRef) -> dict[str, Any]:
    """Train a head on so many votes of each person and measure whom it knows how well."""
    train = poll.votes(poll.old, each, seed, "train")
    unseen = poll.learned.prompt.unique()
    last = torch.isin(train.prompt, unseen[unseen % 10 == 0])
    began = time.monotonic()
    fitted = fit_head(
        name, train.rows(~last), train.rows(last), FitSettings(seed=seed), embedder=embedder
    )
    seconds = time.monotonic() - began
    head = fitted.head
    known = census(poll.asked, poll.old)
    strangers = census(poll.asked, poll.new)
    support = poll.votes(poll.new, max(NEW), seed, "new")
    after: dict[str, float] = {}
    for count in NEW if head.kind.personal else (0,):
        some = {who: _first(support, who, count) for who in poll.new} if count else {}
        after[str(count)] = _expected(poll, with_people(head, some).judge(strangers), strangers)
    taste = recovered(head.judge, known, poll.truth)
    return {
        "head": name,
        "votes": each,
        "seed": seed,
        "pairs": len(train),
        "known": _expected(poll, head.judge(known), known),
        "new": after,
        "cosine": taste.cosine,
        "personal": taste.personal,
        "best_step": fitted.best_step,
        "seconds": round(seconds, 1),
    }


def ceilings(poll: Poll, each: int, seed: int) -> dict[str, Any]:
    """Return what anybody could reach with so many votes, for known and for new people."""
    train = poll.votes(poll.old, each, seed, "train")
    tastes = {who: attainable_taste(poll.truth, train.of(who)) for who in poll.old}
    known = census(poll.asked, poll.old)
    seen = through_embedding(poll.truth, train, known)
    return {
        "votes": each,
        "seed": seed,
        "scorer": _expected(poll, own_scores(known), known),
        "population": _expected(poll, poll.truth.everyone(known), known),
        "embedding": _expected(poll, seen.own(known), known),
        "attainable": _expected(poll, poll.truth.under(tastes, known), known),
        "own": _expected(poll, poll.truth.own(known), known),
    }


def _first(votes: Pairs, who: str, count: int) -> Pairs:
    mine = votes.of(who)
    return mine.rows(torch.arange(count))


def _expected(poll: Poll, logit: torch.Tensor, asked: Pairs) -> float:
    return judged(logit, poll.truth.probability(asked), asked.person).accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    scorer = load_scorer("world-reward")
    embedder = EmbedderRef(scorer=scorer.info.id, fingerprint=fingerprint(scorer.info))
    result: dict[str, Any] = {"bundled": bundled(scorer, asked.work)}
    poll = make_poll(scorer, asked.work)
    result["ceilings"] = [ceilings(poll, each, seed) for each in VOTES for seed in SEEDS]
    result["polled"] = [
        polled(poll, name, each, seed, embedder)
        for name in HEADS
        for each in VOTES
        for seed in SEEDS
    ]
    write_json(asked.out, result)


if __name__ == "__main__":
    main()
