r"""Which pairs to vote on next: those whose answers say most about the taste.

    I(d) = H[ E sigma(u) ] - E H[ sigma(u) ],   u ~ N( w_hat^T d, d^T S d )

the mutual information of the taste and the answer (BALD, 1112.5745), by Gauss-Hermite quadrature.
After a pair is chosen the covariance shrinks as any answer to it would shrink it, so that the next
one asks something else. No chance is involved; of equals, the first is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.users.posterior import Belief

NODES = 32


@dataclass(frozen=True, kw_only=True)
class Question:
    """A pair by its row, the bits its answer is worth, and P(first) as believed now."""

    row: int
    bits: float
    chance: float


def ask(belief: Belief, gap: Float[Tensor, "n p"], count: int) -> list[Question]:
    """Return the most informative pairs, in the order to ask them.

    Args:
        belief: about the taste.
        gap: whitened feature differences of the candidates.
        count: how many; fewer are returned where there are fewer.
    """
    gap, cov = gap.double(), belief.cov
    mean = gap @ belief.mean
    free = torch.ones(len(gap), dtype=torch.bool)
    found: list[Question] = []
    for _ in range(min(count, len(gap))):
        variance = ((gap @ cov) * gap).sum(dim=1).clamp(min=0)
        bits, chance = information(mean, variance)
        # Rounded, so that equal pairs tie whatever the order of the sum was.
        row = int(torch.where(free, bits, -1.0).round(decimals=9).argmax())
        found.append(Question(row=row, bits=float(bits[row]), chance=float(chance[row])))
        free[row] = False
        along, sure = cov @ gap[row], chance[row]
        curve = sure * (1 - sure)
        cov = cov - curve / (1 + curve * variance[row]) * torch.outer(along, along)
    return found


def information(
    mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return the mutual information of answers in bits, and the probability of the first."""
    nodes, shares = (torch.from_numpy(each) for each in np.polynomial.hermite_e.hermegauss(NODES))
    shares = shares / shares.sum()
    chance = (mean[:, None] + variance.sqrt()[:, None] * nodes).sigmoid()
    whole = chance @ shares
    return (_bits(whole) - _bits(chance) @ shares).clamp(min=0), whole


def candidates(prompts: Sequence[str]) -> list[tuple[int, int]]:
    """Return every two pictures of one prompt; of all, where no two share a prompt."""
    rows = range(len(prompts))
    every = [(one, two) for one in rows for two in rows if one < two]
    same = [(one, two) for one, two in every if prompts[one] == prompts[two]]
    return same or every


def _bits(chance: Tensor) -> Tensor:
    inside = chance.clamp(1e-15, 1 - 1e-15)
    return -(inside * inside.log2() + (1 - inside) * (1 - inside).log2())
