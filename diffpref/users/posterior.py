r"""What votes say about a taste: Bayesian Bradley-Terry with a Gaussian prior (Laplace).

    P(first > second) = sigma( w^T d ),    d = the whitened features of the first minus the second
    w_hat = argmax_w  sum_i weight_i [ p_i log sigma(w^T d_i) + (1 - p_i) log sigma(-w^T d_i) ]
                      - (w - m)^T S_0^{-1} (w - m) / 2
    S     = ( S_0^{-1} + sum_i weight_i sigma' d_i d_i^T )^{-1}

p_i is the first's share of the vote, 1/2 for a tie. With S_0 = A A^T and w = m + A v the Newton
matrix is I + Y^T Y, Y of n rows, so a step costs min(n, p)^3 (Woodbury). Everything is float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

STEPS = 100
HALVINGS = 30
CLOSE = 1e-11
"""Newton ends when no coordinate of v moves more than this."""


@dataclass(frozen=True, kw_only=True)
class Belief:
    """A Gaussian over tastes, or a batch of them; float64."""

    mean: Float[Tensor, "*b p"]
    cov: Float[Tensor, "*b p p"]


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Votes as numbers: feature differences, the first's shares, and weights (0 is no vote)."""

    gap: Float[Tensor, "*b n p"]
    share: Float[Tensor, "*b n"]
    weight: Float[Tensor, "*b n"]


def posterior(prior: Belief, votes: Gaps) -> Belief:
    """Return the belief after votes; the prior itself, up to rounding, after none.

    Args:
        prior: one belief, or one for each row of the batch.
        votes: of one person, or of several at once; rows of weight 0 fill up shorter ones.
    """
    gap = votes.gap.double()
    root = torch.linalg.cholesky(prior.cov)
    x, base = gap @ root, (gap @ prior.mean[..., None])[..., 0]
    share, weight = votes.share.double(), votes.weight.double()
    v = x.new_zeros(*x.shape[:-2], x.shape[-1])

    def value(at: Tensor) -> Float[Tensor, "*b 1"]:
        logit = base + (x @ at[..., None])[..., 0]
        loss = softplus(logit) - share * logit
        return (weight * loss).sum(-1, keepdim=True) + at.square().sum(-1, keepdim=True) / 2

    for _ in range(STEPS):
        logit = base + (x @ v[..., None])[..., 0]
        slope = (x * (weight * (share - logit.sigmoid()))[..., None]).sum(dim=-2) - v
        step = _inverse_times(_rows(x, logit, weight), slope)
        v = v + _pace(value, v, step) * step
        if not step.numel() or float(step.abs().max()) < CLOSE:
            break
    curve = _rows(x, base + (x @ v[..., None])[..., 0], weight)
    spread = root @ _inverse(curve) @ root.mT
    mean = prior.mean + (root @ v[..., None])[..., 0]
    return Belief(mean=mean, cov=(spread + spread.mT) / 2)


def log_odds(belief: Belief, gap: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
    """Return the log odds that the first of each pair is preferred, uncertainty included.

    sigma( mu / sqrt(1 + pi v / 8) ) is MacKay's approximation of the mean of sigma over the belief
    (Neural Computation 4, 1992).
    """
    gap = gap.double()
    variance = ((gap @ belief.cov) * gap).sum(dim=-1)
    return (gap @ belief.mean) / (1 + math.pi / 8 * variance).sqrt()


def stored(belief: Belief) -> Belief:
    """Return a belief as a file will hold it: float32 numbers and a symmetric covariance."""
    cov = belief.cov.float().double()
    return Belief(mean=belief.mean.float().double(), cov=torch.tril(cov) + torch.tril(cov, -1).mT)


def _rows(x: Tensor, logit: Tensor, weight: Tensor) -> Tensor:
    """Return Y, whose Y^T Y is the curvature of the votes."""
    sure = logit.sigmoid()
    return x * (weight * sure * (1 - sure)).sqrt()[..., None]


def _inverse_times(y: Float[Tensor, "*b n p"], right: Float[Tensor, "*b p"]) -> Tensor:
    """Return (I + Y^T Y)^{-1} right by the smaller of two systems."""
    n, p = y.shape[-2:]
    if n >= p:
        root = torch.linalg.cholesky(_eye(p, y) + y.mT @ y)
        return torch.cholesky_solve(right[..., None], root)[..., 0]
    root = torch.linalg.cholesky(_eye(n, y) + y @ y.mT)
    inner = torch.cholesky_solve(y @ right[..., None], root)
    return right - (y.mT @ inner)[..., 0]


def _inverse(y: Float[Tensor, "*b n p"]) -> Float[Tensor, "*b p p"]:
    n, p = y.shape[-2:]
    if n >= p:
        return torch.cholesky_inverse(torch.linalg.cholesky(_eye(p, y) + y.mT @ y))
    half = torch.linalg.solve_triangular(
        torch.linalg.cholesky(_eye(n, y) + y @ y.mT), y, upper=False
    )
    return _eye(p, y) - half.mT @ half


def _pace(
    value: Callable[[Tensor], Tensor], v: Float[Tensor, "*b p"], step: Float[Tensor, "*b p"]
) -> Float[Tensor, "*b 1"]:
    """Return for each row the largest of 1, 1/2, 1/4 ... at which the objective does not rise."""
    pace, before = torch.ones_like(v[..., :1]), value(v)
    slack = 1e-12 * (1 + before.abs())
    for _ in range(HALVINGS):
        worse = value(v + pace * step) > before + slack
        if not bool(worse.any()):
            break
        pace = torch.where(worse, pace / 2, pace)
    return pace


def _eye(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype)
