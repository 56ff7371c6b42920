"""A clipped linear gradient weight instead of a sigmoid."""

from dataclasses import dataclass
from typing import ClassVar

from diffpref.losses.pair import gap, lean, log_ratio
from diffpref.types import PerImage, PerPrompt, Unit

SLOPE = 0.2
"""Of Keras' hard sigmoid, which the released code uses."""


@dataclass(frozen=True, kw_only=True)
class LinearLoss:
    """See `linear`."""

    unit: ClassVar[Unit] = "pairs"

    beta: float
    floor: float

    def __call__(self, policy: PerImage, reference: PerImage | None, label: PerImage) -> PerPrompt:
        toward = lean(label)
        worse = -2 * toward * gap(log_ratio(policy, reference))
        weight = (SLOPE * self.beta * worse + 0.5).clamp(self.floor, 1 - self.floor).detach()
        return weight * -2 * toward * gap(policy)


def linear(*, beta: float = 100.0, floor: float = 1e-3) -> LinearLoss:
    r"""Weigh the difference of errors by a hard sigmoid: Linear-DPO, 2605.21123.

    Equation:
        sg[ clip(0.2 \beta D + 1/2, \eta, 1 - \eta) ] (m_w - m_l)
        D = (m_w - r_w) - (m_l - r_l) on mean squared errors

    Only its gradient means anything: the value may fall while the policy gets worse. The floor
    keeps pairs teaching that are already decided.

    Args:
        beta: slope of the weight; kappa of other losses is not comparable.
        floor: eta, the smallest weight.

    Returns:
        A loss on pairs.

    Raises:
        ValueError: beta is not above 0 or floor not in [0, 1/2).
    """
    if not beta > 0 or not 0 <= 2 * floor < 1:
        raise ValueError(f"needs beta > 0 and 0 <= floor < 1/2, got {beta} and {floor}")
    return LinearLoss(beta=beta, floor=floor)
