"""What a loop is told before it starts, what it remembers, and whom it tells."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LoopPlan:
    """How long to run and what to do when."""

    steps: int
    rows_per_pass: int
    save_every: int
    keep: int
    log_every: int
    validate_every: int | None
    best_by: str | None
    max_consecutive_skips: int
    length: int
    """T of the noise schedule, for the bins of the health."""
    keep_validated: bool = False
    """Whether, without `best_by`, the newest validated state is kept as the best: a run that may
    end early goes back to it."""


@dataclass
class LoopState:
    """What resuming needs besides tensors; JSON."""

    step: int = 0
    skips: int = 0
    restored: bool = False
    best: float | None = None
    accuracy: float = 0.5
    rows_per_pass: int | None = None
    scaler: dict[str, Any] | None = None
    seconds: float = 0.0
    skipped_steps: int = 0
    ended: bool = False


def _nothing(step: int, values: Mapping[str, object]) -> None:
    del step, values


def _unmeasured(step: int, metrics: Mapping[str, Tensor]) -> None:
    del step, metrics


def _no_validation(step: int) -> Mapping[str, float]:
    del step
    return {}


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the caller wants to know or decide.

    on_step: told (finished steps, latest numbers). measured: told (steps before this one, what
    every prompt of this process measured). validate: step -> metrics, called with the average in
    place when there is one. enough: asked after it; the run is then finished, whatever steps are
    left. stop: asked after every step. report: further numbers worth logging, asked when metrics
    are written.
    """

    on_step: Callable[[int, Mapping[str, object]], None] = _nothing
    measured: Callable[[int, Mapping[str, Tensor]], None] = _unmeasured
    validate: Callable[[int], Mapping[str, float]] = _no_validation
    enough: Callable[[], bool] = lambda: False
    stop: Callable[[], bool] = lambda: False
    report: Callable[[], Mapping[str, float]] = dict[str, float]
