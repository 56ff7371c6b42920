r"""Which prompts count more: factors on the logit and on the loss.

`high_noise` is a function of t alone. `dynamic` follows the margins it has seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.schedule import NoiseSchedule
from diffpref.types import Emphasis, PerPrompt


@dataclass(frozen=True, kw_only=True)
class ByStep:
    """One factor per step t, on the logit or on the loss."""

    factor: Float[Tensor, " T"] = field(repr=False)
    on_logit: bool

    @property
    def couples_batch(self) -> bool:
        return False

    @property
    def state(self) -> Mapping[str, Tensor]:
        return {}

    def __call__(self, logit: PerPrompt, t: Int[Tensor, " b"]) -> Emphasis:
        factor = self.factor.to(logit)[t]
        one = torch.ones_like(factor)
        return Emphasis(factor, one) if self.on_logit else Emphasis(one, factor)

    def learn(self, metrics: Mapping[str, PerPrompt]) -> None:
        del metrics


def high_noise(schedule: NoiseSchedule, *, on: Literal["logit", "loss"] = "logit") -> ByStep:
    r"""Weigh noisy steps up to twice as much.

    Equation:
        \lambda(t) = 1 + minmax( 1 / \sqrt{SNR(t)} ), 1 at t = 0 and 2 at t = T - 1
        (Rethinking DPO in diffusion models, 2505.18736)

    Args:
        schedule: the base model's noise schedule.
        on: `logit` as the paper, a larger beta and so a tighter leash; or `loss`.

    Returns:
        An emphasis.
    """
    ratio = schedule.snr(torch.arange(len(schedule))).rsqrt()
    factor = 1 + (ratio - ratio.min()) / (ratio.max() - ratio.min())
    return ByStep(factor=factor, on_logit=on == "logit")


@dataclass(frozen=True, kw_only=True)
class Dynamic:
    """See `dynamic`."""

    length: int
    strength: float
    keep: float
    momentum: float
    state: Mapping[str, Tensor]

    @property
    def on_logit(self) -> bool:
        return True

    @property
    def couples_batch(self) -> bool:
        return True

    def __call__(self, logit: PerPrompt, t: Int[Tensor, " b"]) -> Emphasis:
        place = self._bins(t)
        mean, spread = (self.state[name].to(logit)[place] for name in ("mean", "spread"))
        gap = logit - mean
        count = max(1, round(self.keep * len(logit)))
        near = (gap.abs() / spread.clamp(min=1e-12)).argsort(stable=True)[:count]
        chosen = torch.zeros_like(logit).index_fill(0, near, 1.0)
        factor = (1 + self.strength * gap[near].mean()).clamp(min=1e-3)
        return Emphasis(factor.expand_as(logit), chosen * len(logit) / count)

    def learn(self, metrics: Mapping[str, PerPrompt]) -> None:
        """Move every seen bin's running mean and spread towards this step's."""
        place = self._bins(metrics["t"].round().long()).cpu()
        value = metrics["raw_logit"].detach().double().cpu()
        mean, spread, seen = (self.state[name] for name in ("mean", "spread", "seen"))
        for each in range(len(mean)):
            here = value[place == each]
            if not len(here):
                continue
            share = 1 - self.momentum if seen[each] else 1.0
            # Around the old mean: a bin with a single prompt would have no spread of its own.
            away = (here - mean[each]).square().mean().sqrt()
            mean[each] += share * (here.mean() - mean[each])
            spread[each] += share * (away - spread[each])
            seen[each] = 1.0

    def _bins(self, t: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        return (t * len(self.state["mean"])) // self.length


def dynamic(
    schedule: NoiseSchedule,
    *,
    strength: float = 0.6,
    keep: float = 0.8,
    momentum: float = 0.9,
    bins: int = 10,
) -> Dynamic:
    r"""Scale beta by how far the batch's margins are from usual, and leave outliers out: beta-DPO.

    Equation:
        \beta_batch = \beta max(1 + a mean_{selected}(M - M_0), 0.001),   M = u
        selected: the `keep` share with the smallest |M - M_0| / \sigma;  M_0, \sigma: running
        mean and spread                                             (2407.08639, eqs. 7-9)

    Args:
        schedule: the base model's noise schedule.
        strength: a. The released configuration has 0.
        keep: share of the batch that is trained on.
        momentum: of the running values, per optimizer step.
        bins: of the timestep; M_0 and sigma are kept per bin.

    Returns:
        An emphasis that couples the batch and learns.

    Raises:
        ValueError: a setting is out of its range.

    Departs from the paper: M_0 and sigma are kept per timestep bin, since margins depend on t far
    more than on the pair; the selection takes the nearest margins instead of sampling them, since
    comparing draws nothing.
    """
    if strength < 0 or not 0 < keep <= 1 or not 0 <= momentum < 1 or bins < 1:
        raise ValueError(
            "needs strength >= 0, 0 < keep <= 1, 0 <= momentum < 1 and bins >= 1, got "
            f"{strength}, {keep}, {momentum}, {bins}"
        )
    state = {
        "mean": torch.zeros(bins, dtype=torch.float64),
        "spread": torch.ones(bins, dtype=torch.float64),
        "seen": torch.zeros(bins, dtype=torch.float64),
    }
    return Dynamic(
        length=len(schedule), strength=strength, keep=keep, momentum=momentum, state=state
    )
