r"""Heads on the logit of a pair.

With log-likelihood -1/2 mean (eps - eps_theta)^2 the logit of a pair is

    u = beta d(p) [ (l_0 - l_0^ref) - (l_1 - l_1^ref) ]        d(p) = p_0 - p_1, or its sign

so that beta is the released Diffusion-DPO convention: kappa = beta / 2 on mean errors
(2311.12908, eq. 14 and supplement S4). u > 0 means the policy leans to the preferred image more
than the reference does. The order of a prompt's images never matters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import ClassVar

import torch
import torch.nn.functional as F

from diffpref.errors import ConfigError
from diffpref.types import PerImage, PerPrompt, Unit

PAIR = 2

Head = Callable[[PerPrompt, PerImage], PerPrompt]
"""(logit u, label) -> loss per prompt."""


def log_ratio(policy: PerImage, reference: PerImage | None) -> PerImage:
    """Return log pi / pi_ref per image; without a reference, log pi."""
    return policy if reference is None else policy - reference


def gap(values: PerImage) -> PerPrompt:
    """Return the first image's value minus the second's; refuse anything but pairs."""
    if values.shape[1] != PAIR:
        raise ConfigError(
            f"a pair loss compares two images per prompt, the data has {values.shape[1]}",
            where="parts.loss",
            hint="train on pairs, or choose method: sft",
        )
    return values[:, 0] - values[:, 1]


def lean(label: PerImage) -> PerPrompt:
    """Return +1 where the first image is preferred or tied, -1 where the second is."""
    return torch.where(gap(label) >= 0, 1.0, -1.0).to(label.dtype)


@dataclass(frozen=True, kw_only=True)
class PairLoss:
    """A head on the logit of a pair.

    Attributes:
        beta: strength; kappa = beta / 2 on mean squared errors.
        head: (u, label) -> loss.
        direction: `gap` lets labels scale the logit, so that a tie has u = 0 and no gradient;
            `lean` only orients it, for heads that weigh by the label themselves.
    """

    unit: ClassVar[Unit] = "pairs"

    beta: float
    head: Head
    direction: Callable[[PerImage], PerPrompt] = gap

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")

    @property
    def learns_from_ties(self) -> bool:
        """Whether a tied pair carries a gradient: what `data.ties: soft` asks for."""
        return self.direction is lean

    @property
    def at_start(self) -> float:
        """The loss of an untied pair while the policy equals the reference (u = 0)."""
        zero = torch.zeros(1, dtype=torch.float64)
        return float(self.head(zero, torch.tensor([[1.0, 0.0]], dtype=torch.float64)))

    def logit(self, policy: PerImage, reference: PerImage | None, label: PerImage) -> PerPrompt:
        """Return u, positive when the policy agrees with the label."""
        return self.beta * self.direction(label) * gap(log_ratio(policy, reference))

    def __call__(self, policy: PerImage, reference: PerImage | None, label: PerImage) -> PerPrompt:
        return self.head(self.logit(policy, reference, label), label)


def logistic(*, beta: float) -> PairLoss:
    r"""-log \sigma(u), labels scaling the margin inside: Diffusion-DPO, 2311.12908, eq. 14."""
    return PairLoss(beta=beta, head=lambda u, _: -F.logsigmoid(u))


def cross_entropy(*, beta: float, epsilon: float = 0.0) -> PairLoss:
    r"""Weigh both outcomes by the label: conservative DPO and soft labels.

    Equation:
        -q \log \sigma(u) - (1 - q) \log \sigma(-u),   q = (1 - \epsilon) p + \epsilon (1 - p)
        (cDPO: Mitchell 2023; p is the preferred image's label)

    Args:
        beta: strength; kappa = beta / 2.
        epsilon: fraction of labels believed to be flipped; the optimum is then at the finite
            u* = log((1 - epsilon) / epsilon).

    Returns:
        A pair loss that learns from ties.

    Raises:
        ValueError: epsilon is not in [0, 1/2).
    """
    if not 0 <= 2 * epsilon < 1:
        raise ValueError(f"epsilon must be at least 0 and below 1/2, got {epsilon}")

    def head(u: PerPrompt, label: PerImage) -> PerPrompt:
        p = label.amax(dim=1)
        q = (1 - epsilon) * p + epsilon * (1 - p)
        return -q * F.logsigmoid(u) - (1 - q) * F.logsigmoid(-u)

    return PairLoss(beta=beta, head=head, direction=lean)


def hinge(*, beta: float) -> PairLoss:
    """max(0, 1 - u): SLiC's hinge (2305.10425) on the DPO logit (2309.06657)."""
    return PairLoss(beta=beta, head=lambda u, _: (1 - u).clamp(min=0))


def squared(*, beta: float) -> PairLoss:
    r"""(u - 1/2)^2: IPO, 2310.12036, eq. 17, times beta^2.

    Departs from the paper: it is rescaled to the logit, since (margin - 1 / 2 tau)^2 on mean
    errors is about 1e-6, below what half precision and Adam's epsilon resolve. tau = beta.
    """
    return PairLoss(beta=beta, head=lambda u, _: (u - 0.5).square())


def robust(*, beta: float, epsilon: float = 0.1) -> PairLoss:
    r"""Correct for labels flipped at a known rate: rDPO, 2403.00409.

    Equation:
        [-(1 - \epsilon) \log \sigma(u) + \epsilon \log \sigma(-u)] / (1 - 2 \epsilon)
        Unbiased under symmetric flips; may be negative and has no lower bound.

    Args:
        beta: strength; kappa = beta / 2.
        epsilon: fraction of labels flipped.

    Returns:
        A pair loss.

    Raises:
        ValueError: epsilon is not in [0, 1/2).
    """
    if not 0 <= 2 * epsilon < 1:
        raise ValueError(f"epsilon must be at least 0 and below 1/2, got {epsilon}")

    def head(u: PerPrompt, _: PerImage) -> PerPrompt:
        kept, flipped = F.logsigmoid(u), F.logsigmoid(-u)
        return (epsilon * flipped - (1 - epsilon) * kept) / (1 - 2 * epsilon)

    return PairLoss(beta=beta, head=head)


def exo(*, beta: float, alpha: float = 0.01) -> PairLoss:
    r"""Reverse KL from the policy's preference to the smoothed label: EXO, DMPO.

    Equation:
        p \log(p / (1 - \alpha)) + (1 - p) \log((1 - p) / \alpha),   p = \sigma(u)
        (EXO for pairs, 2402.00856; DMPO for diffusion, 2507.07510)
        The optimum is p = 1 - alpha; a badly wrong pair (p near 0) gets no gradient.

    Args:
        beta: strength; kappa = beta / 2.
        alpha: smoothing of the label.

    Returns:
        A pair loss.

    Raises:
        ValueError: alpha is not in (0, 1/2).
    """
    if not 0 < 2 * alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1/2, got {alpha}")

    def head(u: PerPrompt, _: PerImage) -> PerPrompt:
        log_p, log_q = F.logsigmoid(u), F.logsigmoid(-u)
        return log_p.exp() * (log_p - log(1 - alpha)) + log_q.exp() * (log_q - log(alpha))

    return PairLoss(beta=beta, head=head)


def alpha_divergence(*, beta: float, alpha: float = 0.9999) -> PairLoss:
    r"""Alpha-divergence of the certain label from the policy's preference: Diffusion alpha-DPO.

    Equation:
        (p^a - (1 - a) - a p) / (a (a - 1)),   p = \sigma(u); its limit at a = 1 is
        p \log p - p + 1. A badly wrong pair (p near 0) gets no gradient.

    Args:
        beta: strength; kappa = beta / 2.
        alpha: order of the divergence, in (0, 1]. Nearer to 1 than 1e-3 a series around the
            limit is used, since the quotient cancels.

    Returns:
        A pair loss.

    Raises:
        ValueError: alpha is not in (0, 1].
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must be above 0 and at most 1, got {alpha}")

    def head(u: PerPrompt, _: PerImage) -> PerPrompt:
        log_p = F.logsigmoid(u)
        p, short = log_p.exp(), alpha - 1
        if abs(short) > 1e-3:
            return ((alpha * log_p).exp() + short - alpha * p) / (alpha * short)
        # p^a = p e^{short log p}; exp is taken to third order in `short`, then divided by it.
        rest = short * log_p.square() / 2 + short**2 * log_p.pow(3) / 6
        return (p * (log_p + rest) - p + 1) / alpha

    return PairLoss(beta=beta, head=head)


def brier(*, beta: float) -> PairLoss:
    r"""(1 - \sigma(u))^2: the squared error of the predicted preference.

    One branch of the released DSPO script for SDXL; bounded, so that hopeless pairs are given up.
    """
    return PairLoss(beta=beta, head=lambda u, _: torch.sigmoid(-u).square())
