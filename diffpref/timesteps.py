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


def tilted(*, gamma: float = 0.9, bins: int = 50) -> TimestepSampler:
    r"""Draw noisier steps more often: a bin k of Cat(gamma^k), then uniformly inside it.

    Equation:
        P(k) = \gamma^k / \sum_j \gamma^j, k = 0 the noisiest of `bins` equal bins
        (Rethinking DPO in diffusion models, 2505.18736; the number of bins is not printed there,
        50 is that of the work it takes the idea from, 2402.08265)

    Args:
        gamma: ratio of neighbouring bins, in (0, 1]; 1 is uniform.
        bins: number of bins.

    Returns:
        A sampler of one step per prompt.

    Raises:
        ValueError: gamma is not in (0, 1] or there is no bin. More bins than steps is a
            ConfigError when t is drawn.
    """
    if not 0 < gamma <= 1 or bins < 1:
        raise ValueError(f"tilted needs 0 < gamma <= 1 and bins >= 1, got {gamma} and {bins}")
    share = gamma ** torch.arange(bins, dtype=torch.float64)
    edges = (share / share.sum()).cumsum(0)

    def sample(draws: Draws, length: int) -> Int[Tensor, " b"]:
        if bins > length:
            raise _outside(f"tilted has {bins} bins", length)
        luck = draws.uniform("t/bin").double()
        k = torch.searchsorted(edges, luck, right=True).clamp(max=bins - 1)
        low = ((bins - 1 - k) * length) // bins
        high = ((bins - k) * length) // bins
        return low + (draws.uniform("t").double() * (high - low)).long()

    return sample


def _outside(what: str, length: int) -> ConfigError:
    return ConfigError(
        f"{what}, the schedule has 0..{length - 1}",
        where="parts.timesteps",
        hint="choose steps of the base model's schedule",
    )
