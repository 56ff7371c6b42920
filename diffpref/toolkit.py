"""What a run hands a method when it builds it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from diffpref.errors import ConfigError
from diffpref.schedule import NoiseSchedule
from diffpref.steps import StepPlan
from diffpref.types import MakeEmbedder, Reward


def _no_embedder(layer: str) -> NoReturn:
    del layer
    raise ConfigError(
        "this method compares network features, but the run has no feature network",
        where="method.name",
        hint="build the toolkit with embedder=..., or choose a method on latents",
    )


def _no_reward() -> NoReturn:
    raise ConfigError(
        "this method asks for a reward, but the run has none",
        where="method.name",
        hint="name one under reward:, or choose an offline method",
    )


def _no_plan() -> NoReturn:
    raise ConfigError(
        "this method samples, and the run does not say how",
        where="method.name",
        hint="write a rollout: section, or choose an offline method",
    )


@dataclass(frozen=True, kw_only=True)
class Toolkit:
    """The noise schedule, and what is costly to make, made only if a method asks for it.

    plan: how the policy samples, for methods that sample while they learn.
    """

    schedule: NoiseSchedule
    embedder: MakeEmbedder = _no_embedder
    reward: Callable[[], Reward] = _no_reward
    plan: Callable[[], StepPlan] = _no_plan
