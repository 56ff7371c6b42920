"""Win rates with intervals over prompts and training seeds, corrected for many comparisons."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.draws import generator
from diffpref.evaluate.winrate import outcomes

BOOTSTRAPS = 10_000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A win rate; `low` and `high` bound it at the level Holm's procedure leaves this row.

    `p` is two-sided, against 1/2, before correction.
    """

    rate: float
    low: float
    high: float
    p: float
    n: int


def bootstrapped(
    ours: Float[Tensor, "p s"], theirs: Float[Tensor, "p s"]
) -> tuple[float, Float[Tensor, " r"]]:
    """Return the win rate and its bootstrap: prompts and training seeds are both resampled."""
    won = outcomes(ours, theirs)
    prompts, seeds = won.shape
    rng = generator(0, 0, "leaderboard")
    means: list[Tensor] = []
    for _ in range(BOOTSTRAPS // 1000):
        rows = torch.randint(0, prompts, (1000, prompts), generator=rng)
        columns = torch.randint(0, seeds, (1000, seeds), generator=rng)
        shares = torch.zeros(1000, seeds, dtype=won.dtype)
        shares.scatter_add_(1, columns, torch.full(columns.shape, 1 / seeds, dtype=won.dtype))
        means.append((won[rows].mean(dim=1) * shares).sum(dim=1))
    return float(won.mean()), torch.cat(means)


def p_value(resampled: Float[Tensor, " r"]) -> float:
    """Return how often, two-sided, the bootstrap lies on the other side of 1/2."""
    below, above = int((resampled <= 0.5).sum()), int((resampled >= 0.5).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(resampled) + 1))


def holm(rates: Mapping[str, tuple[float, Tensor]], n: int) -> dict[str, Rate]:
    """Return each row's rate with its interval at the level Holm's step-down gives it.

    The k-th smallest p of m rows gets level 1 - 0.05 / (m - k + 1): a row whose interval excludes
    1/2, and all before it do, differs from 1/2 with a family-wise error of 5 %.
    """
    p = {name: p_value(resampled) for name, (_, resampled) in rates.items()}
    found: dict[str, Rate] = {}
    for place, name in enumerate(sorted(p, key=lambda each: p[each])):
        tail = (1 - LEVEL) / (len(p) - place) / 2
        rate, resampled = rates[name]
        low, high = resampled.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64))
        found[name] = Rate(rate=rate, low=float(low), high=float(high), p=p[name], n=n)
    return found
