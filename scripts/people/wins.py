"""Counting who likes whose images better: exact utilities, wins, and intervals.

Images made for n people of the same prompts from the same noise are a table of what is seen in
them, [people, prompts, attributes and fidelity]; everything is counted from such tables.
"""

from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.draws import generator
from diffpref.evaluate.winrate import outcomes
from diffpref.world.people import FIDELITY_WEIGHT

BOOTSTRAPS = 10_000
LEVEL = 0.95

Seen = Float[Tensor, "v p b"]
"""Attributes of the images for person v of prompt p, and their fidelity, the last."""

Liked = Float[Tensor, "u v p"]
"""What person u gets from the image for person v of prompt p."""

Won = Float[Tensor, "u p"]
"""1, 1/2 or 0, or means of these: how person u's image of prompt p does against another."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A mean over people and prompts; the interval resamples both, `people` people alone."""

    rate: float
    low: float
    high: float
    people_low: float
    people_high: float


def liked(seen: Seen, tastes: Float[Tensor, "u a"]) -> Liked:
    """Return exact utilities: own taste - 2 (1 - fidelity)."""
    looks = torch.einsum("vpa,ua->uvp", seen[..., :-1].double(), tastes.double())
    return looks - FIDELITY_WEIGHT * (1 - seen[..., -1].double())


def own(table: Liked) -> Float[Tensor, "u p"]:
    """Return what everyone gets from their own images."""
    return torch.diagonal(table, dim1=0, dim2=1).T


def against_one(table: Liked, theirs: Float[Tensor, "u p"]) -> Won:
    """Return how everyone's own images do against images that are not made for anybody else."""
    return outcomes(own(table), theirs)


def against_others(table: Liked) -> Won:
    """Return how everyone's own images do, in their own eyes, against those for everybody else."""
    count = len(table)
    others = torch.stack([against_one(table, table[:, v]) for v in range(count)], dim=1)
    return (others.sum(dim=1) - own(others)) / (count - 1)


def advantage(table: Liked) -> Float[Tensor, "u p"]:
    """Return utility of the own image minus the mean of those for everybody else."""
    mine = own(table)
    return mine - (table.sum(dim=1) - mine) / (len(table) - 1)


def recognised(table: Liked) -> float:
    """Return how many people like the images for themselves best of all, on the mean."""
    best = table.mean(dim=2).argmax(dim=1)
    return float((best == torch.arange(len(table))).double().mean())


def diversity(seen: Seen) -> float:
    """Return the mean distance, in attributes, of one person's images of different prompts."""
    count = seen.shape[1]
    pairs = torch.tensor(list(combinations(range(count), 2)))
    looks = seen[..., :-1].double()
    return float((looks[:, pairs[:, 0]] - looks[:, pairs[:, 1]]).norm(dim=-1).mean())


def rate(values: Float[Tensor, "u p"], *, seed: int = 0) -> Rate:
    """Return the mean with two percentile intervals.

    People and prompts are crossed: all people have images of the same prompts. So both are
    resampled, each with replacement and on its own, for `low` and `high`; for `people_low` and
    `people_high` only people are, as if these prompts were all there are.
    """
    x = values.double()
    rng = generator(seed, 0, "people-card")
    rows, columns = (_weights(size, rng) for size in x.shape)
    both = ((rows @ x) * columns).sum(dim=1)
    alone = rows @ x.mean(dim=1)
    tails = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = both.quantile(tails).tolist()
    people_low, people_high = alone.quantile(tails).tolist()
    return Rate(
        rate=float(x.mean()), low=low, high=high, people_low=people_low, people_high=people_high
    )


def _weights(size: int, rng: torch.Generator) -> Float[Tensor, "r n"]:
    """Return how often each of `size` things is drawn, as shares, for every resample."""
    chosen = torch.randint(0, size, (BOOTSTRAPS, size), generator=rng)
    counts = torch.zeros(BOOTSTRAPS, size, dtype=torch.float64)
    return counts.scatter_add_(1, chosen, torch.full(chosen.shape, 1 / size, dtype=torch.float64))
