"""A preference method as a value: one choice per part, and the health it reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.health import health, single_health
from diffpref.labels import hard
from diffpref.likelihoods.squared_error import SquaredError
from diffpref.losses import PairLoss, likelihood
from diffpref.numerics import residual_loglik
from diffpref.timesteps import uniform
from diffpref.trajectories.priced import Priced
from diffpref.types import (
    Denoiser,
    Emphasiser,
    Guard,
    Labeller,
    Loss,
    Measure,
    Nets,
    Offset,
    PerImage,
    PerPrompt,
    PerRow,
    Point,
    PreferenceBatch,
    PreferenceLoss,
    ResidualLoss,
    TimestepSampler,
    Trajectory,
)

P = TypeVar("P", bound=Point)


@dataclass(frozen=True, kw_only=True)
class PreferenceObjective(Generic[P]):
    """Draw where `trajectory` says, measure by `likelihood`, compare by `loss`.

    Attributes:
        length: T, the number of steps of the noise schedule.
        trajectory: where x_t comes from.
        likelihood: how well a network explains a row.
        loss: how a prompt's images are compared.
        label: what the scores say.
        timesteps: which step each prompt is trained at.
        emphasis: factors on each prompt's logit and loss.
        offset: how far the logit must pass zero; pair losses only.
        anchor: weight of the preferred image's mean squared error, added to the loss.
        guard: gradient protection.

    With a guard or a loss on residuals `measure` returns residuals, [n *feature].
    """

    length: int
    trajectory: Trajectory[PreferenceBatch, P]
    likelihood: SquaredError[P]
    loss: PreferenceLoss | ResidualLoss
    label: Labeller = hard
    timesteps: TimestepSampler = field(default_factory=uniform)
    emphasis: Emphasiser | None = None
    offset: Offset | None = None
    anchor: float = 0.0
    guard: Guard | None = None

    def __post_init__(self) -> None:
        paired = isinstance(self.loss, PairLoss)
        if self.offset is not None and not paired:
            raise ConfigError(
                "an offset shifts the logit of a pair, and this loss has none",
                where="parts.offset",
                hint="choose a pair loss such as parts.loss: logistic, or remove the offset",
            )
        if self.emphasis is not None and self.emphasis.on_logit and not paired:
            raise ConfigError(
                "this emphasis scales the logit of a pair, and this loss has none",
                where="parts.emphasis",
                hint="choose a pair loss such as parts.loss: logistic, or remove the emphasis",
            )
        if self.guard is not None and self.loss.unit != "pairs":
            raise ConfigError(
                "a guard protects the winner of a pair, and this loss learns from "
                f"{'single images' if self.loss.unit != 'lists' else 'lists'}",
                where="parts.guard",
                hint="remove the guard, or choose a method on pairs such as diffusion_dpo",
            )
        if self.anchor < 0:
            raise ValueError(f"anchor must be at least 0, got {self.anchor}")

    @property
    def couples_batch(self) -> bool:
        emphasis = self.emphasis is not None and self.emphasis.couples_batch
        return emphasis or getattr(self.loss, "couples_batch", False)

    @property
    def prompts_apart(self) -> bool:
        """Whether `compare` looks at one prompt at a time, also within a process.

        A guard may be told to look at all of a process's.
        """
        return not self.couples_batch and self.guard is None

    @property
    def learns_from_ties(self) -> bool:
        """Whether tied pairs carry a gradient: the condition of `data.ties: soft`."""
        return isinstance(self.loss, PairLoss) and self.loss.learns_from_ties

    @property
    def first_loss(self) -> float | None:
        """The loss of untied pairs at the first step, when the policy equals its reference.

        None where the parts alone do not determine it.
        """
        plain = self.offset is None and self.emphasis is None and not self.anchor
        known = isinstance(self.loss, PairLoss) and plain and self.label is hard
        return self.loss.at_start if known and isinstance(self.loss, PairLoss) else None

    @property
    def state(self) -> Mapping[str, Tensor]:
        """What the parts learn while training; checkpoints keep it."""
        return {} if self.emphasis is None else self.emphasis.state

    def learn(self, metrics: Mapping[str, PerPrompt]) -> None:
        """Take note of an applied step's metrics of all processes."""
        if self.emphasis is not None:
            self.emphasis.learn(metrics)

    def passes(self, draws: Draws, /) -> Int[Tensor, " b"] | None:
        """Return the passes `draw` will take of each prompt's images; None if all take as many."""
        if not isinstance(self.trajectory, Priced):
            return None
        return self.trajectory.passes(self.timesteps(draws, self.length))

    def draw(self, nets: Nets, batch: PreferenceBatch, draws: Draws, /) -> P:
        """Draw one step per prompt and the point at it."""
        point = self.trajectory(nets, batch, self.timesteps(draws, self.length), draws)
        return self.likelihood.extend(point, draws)

    def measure(self, net: Denoiser, point: P, /) -> Measure:
        """Return each row's log-likelihood [n], or its residual [n *feature]."""
        by_residual = self.guard is not None or isinstance(self.loss, ResidualLoss)
        return (self.likelihood.residual if by_residual else self.likelihood)(net, point)

    def compare(self, policy: Measure, reference: Measure | None, point: P, /) -> Loss:
        """Return the mean over prompts of weight x loss, and every prompt's health."""
        shape, t = point.score.shape, point.t.view(point.score.shape)[:, 0]
        score = point.score.to(policy)
        label = self.label(score)
        policy, metrics = self._guarded(policy, label)
        ours = _explained(policy).view(shape)
        theirs = None if reference is None else _explained(reference).view(shape)
        seen = single_health if self.loss.unit == "unpaired" else health
        metrics |= seen(ours.detach(), theirs, label)
        metrics["t"] = t.to(policy.dtype)
        weight = torch.ones_like(ours[:, 0]) if point.weight is None else point.weight.to(ours)
        if isinstance(self.loss, PairLoss):
            logit = self.loss.logit(ours, theirs, label)
            metrics["raw_logit"] = logit.detach()
            logit, weight = self._emphasised(logit, weight, t)
            if self.offset is not None:
                logit = logit - self.offset(score)
            value = self.loss.head(logit, label)
            metrics["logit"] = logit.detach()
        elif isinstance(self.loss, ResidualLoss):
            _, weight = self._emphasised(torch.zeros_like(weight), weight, t)
            rows = None if reference is None else _by_prompt(reference, shape)
            value = self.loss.on_residuals(_by_prompt(policy, shape), rows, label)
        else:
            _, weight = self._emphasised(torch.zeros_like(weight), weight, t)
            value = self.loss(ours, theirs, label)
        if self.anchor:
            value = value + self.anchor * likelihood()(ours, None, label)
        metrics["loss"] = value.detach()
        return Loss((weight * value).mean(), metrics)

    def _emphasised(
        self, logit: PerPrompt, weight: PerPrompt, t: Int[Tensor, " b"]
    ) -> tuple[PerPrompt, PerPrompt]:
        if self.emphasis is None:
            return logit, weight
        on_logit, on_loss = self.emphasis(logit.detach(), t)
        return on_logit.to(logit) * logit, on_loss.to(weight) * weight

    def _guarded(self, policy: Measure, label: PerImage) -> tuple[Measure, dict[str, PerPrompt]]:
        """Scale each row's gradient, and say by how much on average per prompt."""
        if self.guard is None:
            return policy, {}
        still = policy.detach()
        share = self.guard(still, label)
        rows = share.view(-1, *(1,) * (policy.dim() - 1))
        kept = share.view(label.shape).mean(dim=1)
        return still + rows * (policy - still), {"guard_share": kept}


def _explained(measure: Measure) -> PerRow:
    return measure if measure.dim() == 1 else residual_loglik(measure)


def _by_prompt(measure: Measure, shape: torch.Size) -> Float[Tensor, "b k *feature"]:
    return measure.view(*shape, *measure.shape[1:])
