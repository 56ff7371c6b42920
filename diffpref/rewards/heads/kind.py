"""What one kind of head is: how it starts, what it thinks of a picture, and of a pair."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from diffpref.rewards.heads.items import Features
from diffpref.types import PerRow

Shared = Mapping[str, Tensor]
"""What all people share, by name. `base` weighs the scorer's own score and is not trained."""

Weights = Float[Tensor, "n k"]
"""A person's few numbers, one row per item; heads without people have k = 0."""

RewardOf = Callable[[Shared, Features, Weights], PerRow]
LogitOf = Callable[[Shared, Features, Features, Weights], PerRow]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a head.

    d: numbers a picture has: its embedding, then its further features.
    prompt: width of an embedding.
    groups: k, how many bases, prototypes, planes or experts it has.
    width: of the space of PAL's ideal points.
    """

    d: int
    prompt: int
    groups: int
    width: int


@dataclass(frozen=True, kw_only=True)
class HeadKind:
    """A row of HEADS.

    Attributes:
        start: what is trained, before training; random numbers come from the generator.
        reward: what an item is worth to a person, in log odds; None where only pairs can be
            judged.
        logit: log odds that the first of two items of one prompt is preferred; odd under
            exchange of the two.
        personal: whether people have weights of their own.
        free: names of shared numbers without a prior towards zero.
        averaged: names of shared numbers that are K of a kind, one for each group: their prior is
            of the mean of K squares, so that what all have in common weighs as one taste, not K.
    """

    summary: str
    paper: str
    start: Callable[[Shape, Generator], dict[str, Tensor]]
    reward: RewardOf | None
    logit: LogitOf
    personal: bool = True
    free: frozenset[str] = frozenset({"everyone"})
    averaged: frozenset[str] = frozenset()


def difference(reward: RewardOf) -> LogitOf:
    """Return the Bradley-Terry log odds of a reward: r(first) - r(second)."""

    def logit(shared: Shared, first: Features, second: Features, weights: Weights) -> PerRow:
        return reward(shared, first, weights) - reward(shared, second, weights)

    return logit


def own_score(shared: Shared, items: Features) -> PerRow:
    """Return the scorer's own score in log odds: where every head begins."""
    return shared["base"] * items.base


def simplex(weights: Weights) -> Weights:
    """Return a person's weights as shares: positive, with sum 1."""
    return weights.softmax(dim=1)


def normal(rng: Generator, *size: int, scale: float) -> Tensor:
    """Draw a float32 start of the given standard deviation."""
    return scale * torch.randn(*size, generator=rng)
