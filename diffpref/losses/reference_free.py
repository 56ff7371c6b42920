"""Losses that combine the preferred image's error with a margin and read no reference."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpref.losses.pair import gap, lean
from diffpref.types import PerImage, PerPrompt, Unit

SERIES = 1e-4
"""Below this argument x / (e^x - 1) is its Taylor series."""


@dataclass(frozen=True, kw_only=True)
class MapoLoss:
    """See `margin_aware`."""

    unit: ClassVar[Unit] = "pairs"

    beta: float
    scale: float
    length: float

    def __call__(self, policy: PerImage, reference: PerImage | None, label: PerImage) -> PerPrompt:
        del reference
        phi = decay(self.scale * -2 * policy)
        logit = self.length * lean(label) * gap(phi)
        return _preferred_error(policy, label) - self.beta * F.logsigmoid(logit)


def margin_aware(*, beta: float = 0.1, scale: float = 0.5, length: float = 1000.0) -> MapoLoss:
    r"""Fit the preferred image and widen the margin without a reference: MaPO, 2406.06424.

    Equation:
        m_w - \beta \log \sigma( T [ \phi(m_w) - \phi(m_l) ] ),   \phi(m) = s m / (e^{s m} - 1)
        m: mean squared errors. For small m it is SFT + beta x a margin of kappa = T s / 2.

    Args:
        beta: weight of the margin term; not the strength of other losses.
        scale: s.
        length: T.

    Returns:
        A loss on pairs.

    Raises:
        ValueError: a setting is not above 0.
    """
    if min(beta, scale, length) <= 0:
        raise ValueError(f"beta, scale and length must be above 0, got {beta}, {scale}, {length}")
    return MapoLoss(beta=beta, scale=scale, length=length)


@dataclass(frozen=True, kw_only=True)
class OddsRatioLoss:
    """See `odds_ratio`."""

    unit: ClassVar[Unit] = "pairs"

    weight: float

    def __call__(self, policy: PerImage, reference: PerImage | None, label: PerImage) -> PerPrompt:
        del reference
        logit = 2 * lean(label) * gap(policy)
        return _preferred_error(policy, label) - self.weight * F.logsigmoid(logit)


def odds_ratio(*, weight: float = 0.1) -> OddsRatioLoss:
    r"""Fit the preferred image and prefer it by its error: the diffusion form of ORPO, 2403.07691.

    Equation:
        m_w - \lambda \log \sigma(m_l - m_w)

    Departs from the released script (diffusers): there the margin is m_w - m_l, which rewards a
    worse fit of the preferred image. As there, errors stand for negative log odds.

    Raises:
        ValueError: weight is not above 0.
    """
    if not weight > 0:
        raise ValueError(f"weight must be above 0, got {weight}")
    return OddsRatioLoss(weight=weight)


def decay(x: Tensor) -> Tensor:
    """Return x / (e^x - 1), which falls from 1 at x = 0, with a derivative there."""
    small, size = x.abs() < SERIES, x.abs()
    safe = size.where(~small, 1.0)
    # of |x|, so that no exponential overflows; below 0 it is larger by |x|
    large = safe * torch.exp(-safe) / -torch.expm1(-safe) + (-x).clamp(min=0)
    return torch.where(small, 1 - x / 2 + x.square() / 12, large)


def _preferred_error(policy: PerImage, label: PerImage) -> PerPrompt:
    """Return the preferred image's mean squared error; tied images share it."""
    top = (label == label.amax(dim=1, keepdim=True)).to(policy)
    return -2 * (top * policy).sum(dim=1) / top.sum(dim=1)
