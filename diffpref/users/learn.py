r"""Learns how tastes are spread over people: EM with Laplace steps, low rank plus isotropic.

    w_u ~ N( m, S ),    S = B diag(L) B^T + s^2 I,    B of p x r with orthonormal columns

    E: the belief of every person given (m, S)
    M: m = mean w_u,   C = mean [ S_u + (w_u - m)(w_u - m)^T ] = U diag(c) U^T
       B = the first r columns of U,   L = c[:r] - s^2,   s^2 = mean c[r:] unless it is given

The M step is that of probabilistic PCA (Tipping & Bishop 1999) on the expected second moment, so
the whole is a Bayesian LoRe (2504.14439): r shared directions, and a person's few coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.users.posterior import Belief, Gaps, posterior

ROUNDS = 60
TOGETHER = 256
"""People whose beliefs are computed at once."""

LEAST = 0.01
"""Smallest s: a taste that could not move at all would make the covariance singular in float32."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The distribution of tastes: N(mean, basis diag(strength) basis^T + floor^2 I); float64."""

    mean: Float[Tensor, " p"]
    basis: Float[Tensor, "p r"]
    strength: Float[Tensor, " r"]
    floor: float

    def belief(self) -> Belief:
        """Return it as a belief: that about a person who has not voted."""
        low = (self.basis * self.strength) @ self.basis.T
        eye = torch.eye(len(self.mean), dtype=torch.float64)
        return Belief(mean=self.mean, cov=low + self.floor**2 * eye)


def learn_spread(
    people: Sequence[Gaps],
    *,
    rank: int,
    start: Float[Tensor, " p"],
    pull: float = 0.0,
    floor: float | None = None,
    rounds: int = ROUNDS,
) -> Spread:
    """Learn the spread of tastes from the votes of many people.

    Args:
        people: each one's votes.
        rank: r.
        start: where the mean begins.
        pull: how many people's worth the mean is drawn to `start`.
        floor: s; learned when absent.
        rounds: of EM.
    """
    batches = [padded(people[at : at + TOGETHER]) for at in range(0, len(people), TOGETHER)]
    eye = torch.eye(len(start), dtype=torch.float64)
    belief = Belief(mean=start.double(), cov=eye / len(start))
    found = Spread(mean=belief.mean, basis=eye[:, :0], strength=eye[0, :0], floor=1.0)
    for _ in range(rounds):
        seen = [posterior(belief, batch) for batch in batches]
        means = torch.cat([each.mean for each in seen])
        mean = (means.sum(dim=0) + pull * start) / (len(means) + pull)
        apart = means - mean
        second = (apart.T @ apart + sum(each.cov.sum(dim=0) for each in seen)) / len(means)
        found = factored(mean, second, rank, floor)
        belief = found.belief()
    return found


def factored(
    mean: Float[Tensor, " p"], second: Float[Tensor, "p p"], rank: int, floor: float | None = None
) -> Spread:
    """Return the likeliest low-rank plus isotropic spread of a second moment."""
    values, vectors = torch.linalg.eigh(second)
    values, vectors = values.flip(0), vectors.flip(1)
    rest = values[rank:]
    square = float(rest.mean()) if floor is None and len(rest) else (floor or 0.0) ** 2
    square = max(square, LEAST**2)
    basis = vectors[:, :rank]
    # The sign of a direction means nothing; fixed, so that equal votes give equal files.
    most = basis.abs().argmax(dim=0)
    sign = basis[most, torch.arange(rank)].sign()
    return Spread(
        mean=mean,
        basis=basis * sign,
        strength=(values[:rank] - square).clamp(min=1e-9),
        floor=square**0.5,
    )


def padded(people: Sequence[Gaps]) -> Gaps:
    """Put people side by side; who voted less often is filled up with votes of weight 0."""
    pad = torch.nn.utils.rnn.pad_sequence
    return Gaps(
        gap=pad([each.gap.double() for each in people], batch_first=True),
        share=pad([each.share.double() for each in people], batch_first=True),
        weight=pad([each.weight.double() for each in people], batch_first=True),
    )
