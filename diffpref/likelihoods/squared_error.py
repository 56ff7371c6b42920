"""A Gaussian log-likelihood: minus half the mean square of what a network gets wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from diffpref.draws import Draws
from diffpref.numerics import residual_loglik
from diffpref.types import Denoiser, Measure, PerRow

P = TypeVar("P")


def _nothing(point: P, draws: Draws) -> P:
    del draws
    return point


@dataclass(frozen=True, kw_only=True)
class SquaredError(Generic[P]):
    """How well a network explains each row of a point: log p up to scale.

    Attributes:
        residual: (network, point) -> prediction minus target, [n *feature], at least float32.
        extend: adds to a point what only this likelihood needs to draw.
    """

    residual: Callable[[Denoiser, P], Measure]
    extend: Callable[[P, Draws], P] = _nothing

    def __call__(self, net: Denoiser, point: P) -> PerRow:
        return residual_loglik(self.residual(net, point))
