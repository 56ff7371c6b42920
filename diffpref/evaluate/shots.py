"""New people: how well a head knows them after 0, 1, 3, 5, 10 votes, everything else frozen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from diffpref.draws import generator
from diffpref.evaluate.judged import Judged, judged
from diffpref.rewards.heads.head import Head
from diffpref.rewards.heads.pairs import Pairs
from diffpref.rewards.heads.user import fit_offset
from diffpref.types import PerRow

SHOTS = (0, 1, 3, 5, 10)
DRAWS = 3
"""Different votes drawn for each number of shots."""

Progress = Callable[[int, int | None], None]
Learn = Callable[[Mapping[str, Pairs]], Callable[[Pairs], PerRow]]
"""Votes of each new person -> log odds of any pairs."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """Accuracy after `votes` votes of each new person; None is all of them."""

    votes: int | None
    judged: Judged


def with_people(head: Head, support: Mapping[str, Pairs]) -> Head:
    """Return the head with new people fitted to their votes."""
    for name, votes in support.items():
        head = head.with_person(name, fit_offset(head, votes))
    return head


def learn_with(head: Head) -> Learn:
    """Return how a head learns new people: their few weights only."""
    return lambda support: with_people(head, support).judge


def shots(
    learn: Learn,
    support: Pairs,
    asked: Pairs,
    share: PerRow,
    *,
    counts: Sequence[int] = SHOTS,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Shot]:
    """Return the accuracy on `asked` after few votes of each person in it.

    Args:
        learn: what learns from the votes.
        support: votes to draw from, without replacement; a person who has fewer gives all.
        asked: pairs to judge; none of them is among `support`.
        share: their votes, or their exact probabilities.
        counts: how many votes; the accuracy after all votes is added.
        draws: times the votes are drawn; hits are averaged over them.
        seed: of the draws.
        progress: told after each draw.
    """
    people = asked.voters()
    mine = {name: support.of(name) for name in people}
    found: list[Shot] = []
    plan = [(count, draw) for count in counts for draw in range(draws if count else 1)]
    logits: dict[int, list[PerRow]] = {count: [] for count in counts}
    for done, (count, draw) in enumerate(plan, start=1):
        some = {name: _draw(votes, count, draw, seed, name) for name, votes in mine.items()}
        logits[count].append(learn(some)(asked))
        if progress is not None:
            progress(done, len(plan) + 1)
    for count in counts:
        several = torch.cat(logits[count])
        times = len(logits[count])
        result = judged(several, share.repeat(times), asked.person.repeat(times))
        found.append(Shot(votes=count, judged=result))
    whole = judged(learn(mine)(asked), share, asked.person)
    return [*found, Shot(votes=None, judged=whole)]


def _draw(votes: Pairs, count: int, draw: int, seed: int, name: str) -> Pairs:
    order = torch.randperm(len(votes), generator=generator(seed, draw, f"shots/{name}"))
    return votes.rows(order[:count])
