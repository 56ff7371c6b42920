"""Percentile intervals of means and of ratios, by resampling prompts."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.draws import generator

BOOTSTRAPS = 10_000
LEVEL = 0.95

_CHUNK = 2**22


class Interval(NamedTuple):
    """A percentile interval."""

    low: float
    high: float


def bootstrap_means(
    values: Float[Tensor, "m p"], bootstraps: int = BOOTSTRAPS, seed: int = 0
) -> list[Interval]:
    """Return the percentile interval of each row's mean; all rows share the resampled prompts."""
    return [percentiles(row) for row in resampled_means(values, bootstraps, seed)]


def bootstrap_ratio(
    top: Float[Tensor, " p"],
    bottom: Float[Tensor, " p"],
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of sum(top) / sum(bottom) over prompts; bottom is above 0."""
    above, below = resampled_means(torch.stack([top, bottom]), bootstraps, seed)
    return percentiles(above / below)


def resampled_means(
    values: Float[Tensor, "m p"], bootstraps: int = BOOTSTRAPS, seed: int = 0
) -> Float[Tensor, "m r"]:
    """Return each row's mean over every resample of the prompts, drawn with replacement."""
    size = values.shape[1]
    rng = generator(seed, 0, "bootstrap")
    means: list[Tensor] = []
    per_chunk = max(1, _CHUNK // size)
    for start in range(0, bootstraps, per_chunk):
        count = min(per_chunk, bootstraps - start)
        chosen = torch.randint(0, size, (count, size), generator=rng)
        means.append(torch.stack([row[chosen].mean(dim=1) for row in values.double()]))
    return torch.cat(means, dim=1)


def percentiles(values: Float[Tensor, " r"]) -> Interval:
    """Return what the middle LEVEL of the values spans."""
    tails = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = values.quantile(tails)
    return Interval(float(low), float(high))
