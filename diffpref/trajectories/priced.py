"""Trajectories whose price is known from t: some steps ask for more passes than others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.types import Nets, PreferenceBatch, Steps, Trajectory

B = TypeVar("B", bound=PreferenceBatch)
P = TypeVar("P")


@runtime_checkable
class Priced(Protocol):
    """A trajectory that says what it will ask for.

    passes: step per prompt -> calls of a network for each of the prompt's images.
    """

    def passes(self, t: Int[Tensor, " b"], /) -> Int[Tensor, " b"]: ...


@dataclass(frozen=True, kw_only=True)
class Climb(Generic[B, P]):
    """A trajectory with its price."""

    follow: Trajectory[B, P]
    price: Callable[[Int[Tensor, " b"]], Int[Tensor, " b"]]

    def __call__(self, nets: Nets, batch: B, t: Steps, draws: Draws, /) -> P:
        return self.follow(nets, batch, t, draws)

    def passes(self, t: Int[Tensor, " b"], /) -> Int[Tensor, " b"]:
        return self.price(t)
