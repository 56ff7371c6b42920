"""How well a profile foresees votes it was not told of, beside the population without it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.users.evidence import Evidence
from diffpref.users.posterior import Belief, Gaps, log_odds, posterior

MOST = 256
"""Votes left out in turn; of more, evenly spaced ones."""

TOGETHER = 32
FEW = 4
"""With fewer pairs nothing can be said."""

SURE = 1.96


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Sums over votes left out in turn, so that later votes can be added.

    n: decided votes judged; own, everyone: how many each foresaw (1/2 where undecided).
    ahead, square: sum and sum of squares of own minus everyone per vote.
    """

    n: int = 0
    own: float = 0.0
    everyone: float = 0.0
    ahead: float = 0.0
    square: float = 0.0

    @property
    def accuracy(self) -> float | None:
        return self.own / self.n if self.n else None

    @property
    def population(self) -> float | None:
        return self.everyone / self.n if self.n else None

    @property
    def surely_better(self) -> bool:
        """Whether the lead over the population is beyond chance: its mean over 1.96 errors."""
        if self.n < 2:
            return False
        mean = self.ahead / self.n
        error = math.sqrt(max(self.square / self.n - mean**2, 0.0) / (self.n - 1))
        return mean > SURE * error and self.ahead > 0

    def plus(self, other: "LeftOut") -> "LeftOut":
        return LeftOut(
            n=self.n + other.n,
            own=self.own + other.own,
            everyone=self.everyone + other.everyone,
            ahead=self.ahead + other.ahead,
            square=self.square + other.square,
        )


def left_out(
    start: Belief,
    population: Belief,
    votes: Evidence,
    refit: Callable[[Evidence], Belief] | None = None,
) -> LeftOut:
    """Judge every vote by the belief fitted to the others that share no picture with it.

    Args:
        start: the belief before these votes.
        population: what is believed of everyone, to compare with.
        votes: to be left out in turn; ties are skipped, but learned from.
        refit: how a belief is fitted to votes, if not by the posterior of `start`.
    """
    decided = [row for row in range(len(votes)) if votes.share[row] != 0.5]
    step = max(1, math.ceil(len(decided) / MOST))
    asked = decided[::step]
    if not asked:
        return LeftOut()
    together = [asked[at : at + TOGETHER] for at in range(0, len(asked), TOGETHER)]
    if refit is None:
        own = torch.cat([_foreseen(start, votes, rows) for rows in together])
    else:
        own = torch.cat([_refitted(refit, votes, row) for row in asked])
    share = votes.share[asked].double()
    mine = hits(own, share)
    theirs = hits(log_odds(population, votes.gap[asked]), share)
    ahead = mine - theirs
    return LeftOut(
        n=len(asked),
        own=float(mine.sum()),
        everyone=float(theirs.sum()),
        ahead=float(ahead.sum()),
        square=float(ahead.square().sum()),
    )


def hits(logit: Float[Tensor, " n"], share: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return 1 where the preferred one is foreseen, 0 where not, 1/2 where undecided."""
    right = ((logit > 0) == (share > 0.5)).double()
    return torch.where(logit == 0, 0.5, right)


def verdict(pairs: int, found: LeftOut) -> str:
    """Say in words what a profile is worth."""
    if pairs < FEW:
        return f"too few pairs: {pairs} of at least {FEW}; hardly more than the population is known"
    if found.accuracy is None or found.population is None:
        return "not measured: no vote could be left out"
    if found.accuracy <= found.population:
        return "no better than the population on votes left out: more votes, or another encoder"
    if not found.surely_better:
        return "perhaps better than the population: the lead on votes left out is within chance"
    return "better than the population on votes left out"


def _foreseen(start: Belief, votes: Evidence, rows: list[int]) -> Float[Tensor, " b"]:
    related = votes.related()[rows]
    many = len(rows)
    rest = posterior(
        start,
        Gaps(
            gap=votes.gap.expand(many, -1, -1),
            share=votes.share.expand(many, -1),
            weight=votes.weight * ~related,
        ),
    )
    each = [
        log_odds(Belief(mean=rest.mean[i], cov=rest.cov[i]), votes.gap[[row]])
        for i, row in enumerate(rows)
    ]
    return torch.cat(each)


def _refitted(
    refit: Callable[[Evidence], Belief], votes: Evidence, row: int
) -> Float[Tensor, " 1"]:
    apart = (~votes.related()[row]).nonzero()[:, 0].tolist()
    return log_odds(refit(votes.rows(apart)), votes.gap[[row]])
