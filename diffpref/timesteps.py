"""Which step t each prompt is trained at; all images of a prompt share it."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.types import TimestepSampler


def uniform(*, low: int = 0, high: int | None = None) -> TimestepSampler:
    """Draw t uniformly on low..high-1.

    Args:
        low: smallest step.
        high: one past the largest step; None means T.

    Returns:
        A sampler of one step per prompt.

    Raises:
        ValueError: the range is empty or negative. One that passes T is a ConfigError when t is
            drawn.
    """
    if low < 0 or (high is not None and high <= low):
        raise ValueError(f"uniform needs 0 <= low < high, got low = {low}, high = {high}")

    def sample(draws: Draws, length: int) -> Int[Tensor, " b"]:
        last = length if high is None else high
        if not low < last <= length:
            raise _outside(f"uniform draws t in {low}..{last - 1}", length)
        return draws.integers("t", low, last)

    return sample


def discrete(*, steps: Sequence[int]) -> TimestepSampler:
    """Draw t uniformly from a fixed set, such as the four steps of a distilled model.

    Args:
        steps: the steps; one that is listed twice is drawn twice as often.

    Returns:
        A sampler of one step per prompt.

    Raises:
        ValueError: the set is empty or has a negative step. One that passes T is a ConfigError
            when t is drawn.
    """
    if not steps or min(steps) < 0:
        raise ValueError(f"discrete needs at least one step and none below 0, got {list(steps)}")

    def sample(draws: Draws, length: int) -> Int[Tensor, " b"]:
        if max(steps) >= length:
            raise _outside(f"discrete has step {max(steps)}", length)
        return torch.tensor(steps)[draws.integers("t", 0, len(steps))]

    return sample


def _outside(what: str, length: int) -> ConfigError:
    return ConfigError(
        f"{what}, the schedule has 0..{length - 1}",
        where="parts.timesteps",
        hint="choose steps of the base model's schedule",
    )
