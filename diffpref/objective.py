"""A preference method as a value: one choice per part, and the health it reports."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch

from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.labels import hard
from diffpref.likelihoods.latent import residual_loglik
from diffpref.losses import PairLoss, log_ratio
from diffpref.timesteps import uniform
from diffpref.types import (
    Denoiser,
    Labeller,
    Likelihood,
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
    TimestepSampler,
    Trajectory,
)

P = TypeVar("P", bound=Point)


@dataclass(frozen=True, kw_only=True)
class Guard(Generic[P]):
    """Scales each row's gradient by what the policy's residuals say; values do not change.

    Attributes:
        likelihood: the likelihood this guard stands in for: -1/2 the mean square of `residual`.
        residual: (network, point) -> prediction minus target, [n *feature].
        share: (policy residuals, label) -> factor on each row's gradient.
    """

    likelihood: Likelihood[P]
    residual: Callable[[Denoiser, P], Measure]
    share: Callable[[Measure, PerImage], PerRow]


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
        offset: how far the logit must pass zero; pair losses only.
        guard: gradient protection; then `measure` returns residuals [n *feature].
    """

    length: int
    trajectory: Trajectory[PreferenceBatch, P]
    likelihood: Likelihood[P]
    loss: PreferenceLoss
    label: Labeller = hard
    timesteps: TimestepSampler = field(default_factory=uniform)
    offset: Offset | None = None
    guard: Guard[P] | None = None

    def __post_init__(self) -> None:
        if self.offset is not None and not isinstance(self.loss, PairLoss):
            raise ConfigError(
                "an offset shifts the logit of a pair, and this loss has none",
                where="parts.offset",
                hint="choose a pair loss such as parts.loss: logistic, or remove the offset",
            )
        if self.guard is not None and self.guard.likelihood is not self.likelihood:
            raise ConfigError(
                "this guard is made for another likelihood",
                where="parts.guard",
                hint="remove the guard, or choose a method that measures what it measures",
            )

    @property
    def couples_batch(self) -> bool:
        return False

    @property
    def learns_from_ties(self) -> bool:
        """Whether tied pairs carry a gradient: the condition of `data.ties: soft`."""
        return isinstance(self.loss, PairLoss) and self.loss.learns_from_ties

    @property
    def first_loss(self) -> float | None:
        """The loss of untied pairs at the first step, when the policy equals its reference.

        None where the parts alone do not determine it.
        """
        known = isinstance(self.loss, PairLoss) and self.offset is None and self.label is hard
        return self.loss.at_start if known and isinstance(self.loss, PairLoss) else None

    def draw(self, nets: Nets, batch: PreferenceBatch, draws: Draws, /) -> P:
        """Draw one step per prompt and the point at it."""
        return self.trajectory(nets, batch, self.timesteps(draws, self.length), draws)

    def measure(self, net: Denoiser, point: P, /) -> Measure:
        """Return each row's log-likelihood [n], or with a guard its residual [n *feature]."""
        return (self.likelihood if self.guard is None else self.guard.residual)(net, point)

    def compare(self, policy: Measure, reference: Measure | None, point: P, /) -> Loss:
        """Return the mean over prompts of weight x loss, and every prompt's health."""
        shape = point.score.shape
        label = self.label(point.score).to(policy)
        ours = self._loglik(policy, label).view(shape)
        theirs = None if reference is None else _explained(reference).view(shape)
        metrics = health(ours.detach(), theirs, label)
        metrics["t"] = point.t.view(shape)[:, 0].to(policy.dtype)
        if isinstance(self.loss, PairLoss):
            logit = self.loss.logit(ours, theirs, label)
            if self.offset is not None:
                logit = logit - self.offset(point.score).to(logit)
            value = self.loss.head(logit, label)
            metrics["logit"] = logit.detach()
        else:
            value = self.loss(ours, theirs, label)
        metrics["loss"] = value.detach()
        weight = 1.0 if point.weight is None else point.weight.to(value)
        return Loss((weight * value).mean(), metrics)

    def _loglik(self, policy: Measure, label: PerImage) -> PerRow:
        loglik = _explained(policy)
        if self.guard is None:
            return loglik
        still, share = loglik.detach(), self.guard.share(policy.detach(), label)
        return still + share * (loglik - still)


def _explained(measure: Measure) -> PerRow:
    return measure if measure.dim() == 1 else residual_loglik(measure)


def health(policy: PerImage, reference: PerImage | None, label: PerImage) -> dict[str, PerPrompt]:
    """Return per-prompt numbers that tell learning from drifting apart.

    winner_error, loser_error: mean squared errors. winner_drift, loser_drift: log pi / pi_ref of
    the preferred and the other images, above 0 where the policy explains them better than the
    reference; only with a reference. margin: their difference. implicit_accuracy: 1 where the
    highest log ratio is a preferred image's; ties in either count 1/2. Values about the other
    images exist from two images per prompt.
    """
    top = _share(label == label.amax(dim=1, keepdim=True))
    low = _share(label == label.amin(dim=1, keepdim=True))
    metrics = {"winner_error": -2 * (top * policy).sum(dim=1)}
    r = log_ratio(policy, reference)
    if reference is not None:
        metrics["winner_drift"] = (top * r).sum(dim=1)
    if label.shape[1] == 1:
        return metrics
    metrics["loser_error"] = -2 * (low * policy).sum(dim=1)
    if reference is not None:
        metrics["loser_drift"] = (low * r).sum(dim=1)
    metrics["margin"] = ((top - low) * r).sum(dim=1)
    agreed = (_share(r == r.amax(dim=1, keepdim=True)) * (top > 0)).sum(dim=1)
    tied = (label == label[:, :1]).all(dim=1)
    metrics["implicit_accuracy"] = torch.where(tied, 0.5, agreed)
    return metrics


def _share(chosen: torch.Tensor) -> torch.Tensor:
    """Spread one unit evenly over each row's chosen entries"""
    weights = chosen.to(torch.float32)
    return weights / weights.sum(dim=1, keepdim=True)
