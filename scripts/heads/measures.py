"""What is measured of a head on one feature set."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from diffpref.evaluate.heads import measure, own_scores
from diffpref.evaluate.judged import judged
from diffpref.evaluate.known import attainable_taste, through_features
from diffpref.evaluate.shots import with_people
from diffpref.evaluate.taste import census, recovered
from diffpref.rewards.heads.division import By, divide
from diffpref.rewards.heads.items import Block, scales_of
from scripts.heads.poll import Poll, apart
from scripts.heads.worlds import World

NEW = (0, 10, 45)
"""Votes of each new person."""


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
