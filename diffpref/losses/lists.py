r"""Losses on ranked lists. With s_i = -(2 l_i - 2 l_i^ref), the error's change, lower is preferred:

kappa (s_j - s_i) = beta [ (l_i - l_i^ref) - (l_j - l_j^ref) ]
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpref.losses.pair import log_ratio
from diffpref.types import PerImage, PerPrompt, Unit


@dataclass(frozen=True, kw_only=True)
class LambdaRankLoss:
    """See `lambda_rank`."""

    unit: ClassVar[Unit] = "lists"

    beta: float

    def __call__(self, policy: PerImage, reference: PerImage | None, label: PerImage) -> PerPrompt:
        r = log_ratio(policy, reference)
        logit = self.beta * (r[:, :, None] - r[:, None, :])
        return -(pair_weights(label) * F.logsigmoid(logit)).sum(dim=(1, 2))


def pair_weights(gain: PerImage) -> Tensor:
    r"""Return RankDPO's weight of every ordered pair (better i, worse j), 0 for the others.

    Equation:
        |2^{\phi_i} - 2^{\phi_j}| |1 / \log(1 + \tau_i) - 1 / \log(1 + \tau_j)|
        \tau: rank by \phi, 1 is best; images of equal \phi share the mean of their ranks
    """
    better = gain[:, :, None] > gain[:, None, :]
    equal = gain[:, :, None] == gain[:, None, :]
    ahead = better.sum(dim=1)
    rank = 1 + ahead + (equal.sum(dim=1) - 1) / 2
    gains, discount = 2**gain, 1 / torch.log(1 + rank.to(gain))
    width = (gains[:, :, None] - gains[:, None, :]).abs()
    return better * width * (discount[:, :, None] - discount[:, None, :]).abs()


def lambda_rank(*, beta: float) -> LambdaRankLoss:
    r"""Weigh every pair of a list by what swapping it would cost: RankDPO, 2410.18013.

    Equation:
        -\sum_{\phi_i > \phi_j} \Delta_ij \log \sigma( \beta [ (l_i - l_i^ref) - (l_j - l_j^ref) ] )
        \Delta as in `pair_weights`, \phi the label: the share of comparisons an image wins

    Args:
        beta: strength; kappa = beta / 2.

    Returns:
        A loss on lists; pairs of equal phi weigh nothing.

    Raises:
        ValueError: beta is not above 0.
    """
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta}")
    return LambdaRankLoss(beta=beta)


@dataclass(frozen=True, kw_only=True)
class PlackettLuceLoss:
    """See `plackett_luce`."""

    unit: ClassVar[Unit] = "lists"

    beta: float

    def __call__(self, policy: PerImage, reference: PerImage | None, label: PerImage) -> PerPrompt:
        r = self.beta * log_ratio(policy, reference)
        behind = label[:, None, :] <= label[:, :, None]
        rest = r[:, None, :].masked_fill(~behind, -torch.inf).logsumexp(dim=2)
        return (rest - r).sum(dim=1)


def plackett_luce(*, beta: float) -> PlackettLuceLoss:
    r"""Maximise the likelihood of the whole ranking: Plackett-Luce, Diffusion-LPO, 2510.01540.

    Equation:
        -\sum_i \log [ e^{\beta r_i} / \sum_{j not better than i} e^{\beta r_j} ],  r = l - l^ref
        Tied images all stand in each other's denominators (Breslow), so that their order in the
        data does not matter; with k = 2 it is Diffusion-DPO.

    Args:
        beta: strength; kappa = beta / 2.

    Returns:
        A loss on lists.

    Raises:
        ValueError: beta is not above 0.
    """
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta}")
    return PlackettLuceLoss(beta=beta)
