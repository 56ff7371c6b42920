"""What a noisy reward is trained on, and who watches."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffpref.rewards.heads.settings import FitSettings

Tell = Callable[..., None]
Noise = Literal["own", "shared"]


def _silent(*what: object) -> None:
    del what


@dataclass(frozen=True, kw_only=True)
class NoisyJob:
    """What to train: a reward of which kind, on which votes and on which base.

    draws: how often every training vote is noised. bins: steps the test is measured at.
    hidden: width of the bent part of the head.
    noise: whether the two images of a training vote have one noise, as in SPO and LPO, or each its
        own. With one noise they differ by the signal alone at every t, so that a head on frozen
        features learns to be as sure at t = 999 as at 0; with their own it learns how sure to be.
    """

    source: str
    kind: str
    out: Path
    cache: Path
    format: str | None = None
    rows: int | None = None
    batch: int = 32
    draws: int = 4
    bins: int = 10
    hidden: int = 0
    noise: Noise = "own"
    fit: FitSettings = field(default_factory=FitSettings)


@dataclass(frozen=True, kw_only=True)
class NoisyWatchers:
    """Who is told about progress."""

    encoding: Tell = _silent
    looking: Tell = _silent
    training: Tell = _silent
