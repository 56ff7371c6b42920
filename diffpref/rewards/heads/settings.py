"""How a head is trained."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a head is trained.

    groups, width: as in `Shape`.
    steps, batch: optimizer steps, and pairs per step.
    lr: of Adam at the first step, falling to zero along a cosine.
    ridge: precision of the prior that pulls what is learned towards the scorer's own score; counts
        as much as the loss of that many pairs.
    spread: standard deviation people's weights are expected to have around everyone's.
    margin, smoothing: as in `pair_loss`.
    every: steps between looks at the validation pairs; the best look is kept.
    """

    groups: int = 16
    width: int = 16
    steps: int = 600
    batch: int = 512
    lr: float = 0.03
    ridge: float = 30.0
    spread: float = 1.5
    margin: float = 0.0
    smoothing: float = 0.0
    seed: int = 0
    every: int = 20
