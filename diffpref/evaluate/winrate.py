r"""Seed-matched win rate of A over B: ties count one half, and the unit of chance is the prompt.

    o_ps = 1, 1/2 or 0 as A's image scores higher than, as high as, or lower than B's
    win rate = mean over prompts p of mean over seeds s of o_ps

Images of one prompt are not independent, so seeds are averaged within the prompt before the
bootstrap and the tests, which resample prompts only.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.draws import generator
from diffpref.errors import DataError
from diffpref.evaluate.bootstrap import BOOTSTRAPS, bootstrap_means

Scores = Float[Tensor, "p s"]
"""One score per prompt and seed."""

TIE = 1e-6
"""Scores closer than this are a tie."""

FLIPS = 10_000
EXACT = 12
"""Up to this many prompts the permutation test visits every sign pattern."""

_CHUNK = 2**22


@dataclass(frozen=True, kw_only=True)
class WinRate:
    """How often A beats B on the same prompts and seeds.

    `win`, `tie` and `loss` are shares of all images; `rate` = win + tie / 2 with its bootstrap
    interval over `n` prompts of `seeds` images each. `difference` is the mean of score(A) -
    score(B) with its own interval. `sign_p` is the exact two-sided sign test over prompts (tied
    prompts left out), `permutation_p` the paired sign-flip test of the mean difference.
    """

    win: float
    tie: float
    loss: float
    rate: float
    low: float
    high: float
    n: int
    seeds: int
    difference: float
    difference_low: float
    difference_high: float
    sign_p: float
    permutation_p: float


def win_rate(
    a: Scores,
    b: Float[Tensor, "q r"],
    *,
    tie: float = TIE,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
) -> WinRate:
    """Compare two models' scores of the same prompts and seeds.

    Args:
        a: scores of the model in question.
        b: scores of what it is compared with, same prompts and seeds.
        tie: largest difference that still counts as a tie.
        bootstraps: resamples of the prompts.
        seed: of the resamples and of the permutation test.

    Returns:
        The rate with interval and tests.

    Raises:
        DataError: no prompts, unequal shapes, or scores that are not finite.
    """
    first, second = _checked(a, b)
    won = outcomes(first, second, tie=tie)
    per_prompt, gaps = won.mean(dim=1), (first - second).mean(dim=1)
    rate, gap = bootstrap_means(torch.stack([per_prompt, gaps]), bootstraps, seed)
    return WinRate(
        win=float((won == 1).double().mean()),
        tie=float((won == 0.5).double().mean()),
        loss=float((won == 0).double().mean()),
        rate=float(per_prompt.mean()),
        low=rate.low,
        high=rate.high,
        n=first.shape[0],
        seeds=first.shape[1],
        difference=float(gaps.mean()),
        difference_low=gap.low,
        difference_high=gap.high,
        sign_p=sign_test(int((per_prompt > 0.5).sum()), int((per_prompt < 0.5).sum())),
        permutation_p=permutation_test(gaps, seed=seed),
    )


def outcomes(a: Scores, b: Scores, *, tie: float = TIE) -> Float[Tensor, "p s"]:
    """Return 1 where A's image scores higher, 0 where lower, 1/2 where they tie; float64."""
    gap = a.double() - b.double()
    return torch.where(gap.abs() < tie, 0.5, (gap > 0).double())


def sign_test(wins: int, losses: int) -> float:
    r"""Return the exact two-sided p-value of a fair coin: min(1, 2 P(X >= max(wins, losses)))."""
    total, most = wins + losses, max(wins, losses)
    term, tail = math.comb(total, most), 0
    for k in range(most, total + 1):
        tail += term
        term = term * (total - k) // (k + 1)
    return min(1.0, 2 * tail / 2**total)


def permutation_test(gaps: Float[Tensor, " p"], *, flips: int = FLIPS, seed: int = 0) -> float:
    """Return the two-sided p-value of the mean when every prompt's sign is a coin flip.

    Exact up to EXACT prompts; beyond, (1 + as extreme) / (1 + flips) over random signs.
    """
    values = gaps.double()
    size = len(values)
    if size <= EXACT:
        codes = torch.arange(2**size)[:, None] >> torch.arange(size)
        means = (values * (1 - 2 * (codes & 1))).mean(dim=1)
        return float(_as_extreme(means, values).double().mean())
    rng = generator(seed, 0, "permutation")
    found, per_chunk = 0, max(1, _CHUNK // size)
    for start in range(0, flips, per_chunk):
        count = min(per_chunk, flips - start)
        signs = 1 - 2 * torch.randint(0, 2, (count, size), generator=rng)
        found += int(_as_extreme((values * signs).mean(dim=1), values).sum())
    return (1 + found) / (1 + flips)


def _as_extreme(means: Tensor, values: Tensor) -> Tensor:
    # Rounding must not make a pattern less extreme than itself.
    return means.abs() >= values.mean().abs() * (1 - 1e-9)


def _checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape or a.numel() == 0:
        sizes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        hint = "score the same prompts and seeds for both models, at least one"
        raise DataError(f"the scores are {sizes}", where="win rate", hint=hint)
    for name, scores in (("A", a), ("B", b)):
        bad = int((~torch.isfinite(scores)).sum())
        if bad:
            hint = "leave those prompts out, or find out why the scorer failed on them"
            raise DataError(f"{bad} scores of {name} are not finite", where="win rate", hint=hint)
    return a.detach().cpu().double(), b.detach().cpu().double()
