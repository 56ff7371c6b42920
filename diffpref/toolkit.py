"""What a run hands a method when it builds it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from diffpref.errors import ConfigError
from diffpref.schedule import NoiseSchedule
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


@dataclass(frozen=True, kw_only=True)
class Toolkit:
    """The noise schedule, and what is costly to make, made only if a method asks for it."""

    schedule: NoiseSchedule
    embedder: MakeEmbedder = _no_embedder
    reward: Callable[[], Reward] = _no_reward
