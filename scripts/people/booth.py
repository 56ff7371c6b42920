"""Where people of the card vote, and what is believed of them afterwards, by two encoders.

They vote on pictures of the bundled validation part, so that neither its prompts nor its pictures
are among those the card makes. Two profiles come of the same votes:

bt          `diffpref profile fit`'s: features of world-reward, the bundled population
attributes  the same posterior, N(population, 0.5^2) before the votes, in the exact attributes that
            tastes are made of: what an encoder could know that sees all there is to see
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.data.source_parts import parts_of
from diffpref.data.votes import read_votes
from diffpref.draws import generator
from diffpref.evaluate.known import read_truth
from diffpref.evaluate.taste import census
from diffpref.rewards import load_scorer
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.users.posterior import Belief, Gaps, posterior, stored
from diffpref.users.prior import Prior
from diffpref.users.prior_file import find_prior
from diffpref.world.people import (
    DEVIATION,
    TEMPERATURE,
    Person,
    choice_probability,
    population_taste,
)

PART = "validation"
SURE = 1e-8
"""Variance of what everyone weighs alike: prompt fidelity."""


@dataclass(frozen=True, kw_only=True)
class Booth:
    """Pairs one may vote on: differences of exact attributes (and 2 x fidelity), of features."""

    gaps: Float[Tensor, "n b"]
    seen: Float[Tensor, "n f"]
    prior: Prior

    def votes(self, person: Person, shots: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        """Return the pairs a person is shown and the first's shares; few begin many."""
        rng = generator(0, 0, f"people-card/{person.name}")
        rows = torch.randperm(len(self.gaps), generator=rng)[:shots]
        luck = torch.rand(len(self.gaps), generator=rng, dtype=torch.float64)[:shots]
        worth = self.gaps[rows].double() @ weights(person.taste)
        chance = choice_probability(person, worth, torch.zeros_like(worth))
        return rows, (luck < chance).double()

    def taste(self, person: Person, shots: int, mean: Float[Tensor, " b"]) -> Float[Tensor, " a"]:
        """Return the taste the attributes profile believes in; `mean` is before the votes."""
        rows, share = self.votes(person, shots)
        return believed(mean, self.gaps[rows], share)[:-1]

    def pooled(self, people: Sequence[Person], shots: int) -> Float[Tensor, " b"]:
        """Return the one taste all votes of a panel speak of, nothing known before."""
        shown = [self.votes(person, shots) for person in people]
        rows, share = (torch.cat(each) for each in zip(*shown, strict=True))
        nothing = weights(torch.zeros_like(population_taste()))
        return believed(nothing, self.gaps[rows], share, spread=1.0)

    def profile(self, person: Person, shots: int) -> Belief:
        """Return what the bt profile believes."""
        rows, share = self.votes(person, shots)
        gaps = Gaps(gap=self.seen[rows], share=share, weight=torch.ones(len(rows)))
        return stored(posterior(self.prior.belief, gaps))


def weights(taste: Float[Tensor, " a"]) -> Float[Tensor, " b"]:
    """Return a taste with the weight of prompt fidelity, float64."""
    return torch.cat([taste.double(), torch.ones(1, dtype=torch.float64)])


def believed(
    mean: Float[Tensor, " b"],
    gaps: Float[Tensor, "k b"],
    share: Float[Tensor, " k"],
    *,
    spread: float = DEVIATION,
) -> Float[Tensor, " b"]:
    """Return the most probable taste after votes.

    P(first) = sigma(gap^T w / temperature), w ~ N(mean, spread^2) but for fidelity's weight, which
    is known. Departs from how people vote: that they sometimes lapse is not known.
    """
    spreads = torch.full_like(mean, spread**2)
    spreads[-1] = SURE
    votes = Gaps(gap=gaps.double() / TEMPERATURE, share=share, weight=torch.ones_like(share))
    return posterior(Belief(mean=mean, cov=spreads.diag()), votes).mean


def open_booth(work: Path) -> Booth:
    """Return the pairs: every two pictures of each validation prompt."""
    sources = {PART: parts_of("builtin:pairs")[PART]}
    scorer = load_scorer("world-reward")
    votes = read_votes(sources, EmbeddingStore(work / "embeddings", scorer)).pairs
    asked, prior = census(votes, votes.voters()[:1]), find_prior("bt-world")
    return Booth(
        gaps=read_truth(sources, votes).gaps(asked), seen=prior.gaps(asked).gap, prior=prior
    )
