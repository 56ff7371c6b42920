r"""What learns from whole walks: pairs of them, or an advantage on every step.

    PairedWalks   h = beta ( log rho^w - log rho^l ),  L = head(h) + kl KL_t,  rho = pi / pi_ref
    GradedWalks   L = -min( rho A, clip(rho, 1 +- range) A ) + kl KL_t,        rho = pi / pi_old

at every step x_t -> x_s of the walks, each with its own x_t. Log ratios and KL are means over
latent elements (`diffpref.kernel`); KL_t is that of the policy from the reference.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref import kernel
from diffpref.advantages import advantages
from diffpref.draws import Draws
from diffpref.losses import PairLoss
from diffpref.numerics import widen
from diffpref.schedule import NoiseSchedule
from diffpref.step_objective import needed
from diffpref.steps import Transitions, predict
from diffpref.trajectories.stepping import mean_of
from diffpref.types import Denoiser, Loss, Measure, Nets, PerImage, PerPrompt


@dataclass(frozen=True, kw_only=True)
class Walking:
    """How an objective wants its walks made and scored.

    Attributes:
        k: images per prompt.
        same_start: whether a prompt's images start from one noise.
        score: pair: each prompt's best and worst image, 1 and 0; advantage: every image,
            standardised over the prompt's.
        clip: largest advantage.
        drop_last: leave the last step out.
    """

    k: int
    same_start: bool
    score: Literal["pair", "advantage"]
    clip: float = 5.0
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ValueError(f"k must be at least 2, got {self.k}")
        if not self.clip > 0:
            raise ValueError(f"the largest advantage must be above 0, got {self.clip}")

    def kept(self, reward: PerImage) -> tuple[Int[Tensor, "b m"], Float[Tensor, "b m"]]:
        """Return which images are learnt from and their scores, [b 2] or [b k].

        The rows of a pair are the better image and the worse one. Advantages become windows with
        one score per row, [n 1].
        """
        if self.score == "pair":
            both = torch.stack([reward.argmax(dim=1), reward.argmin(dim=1)], dim=1)
            return both, torch.tensor([[1.0, 0.0]]).to(reward).expand(len(reward), 2)
        every = torch.arange(reward.shape[1], device=reward.device).expand_as(reward)
        return every, advantages(reward, clip=self.clip)


@dataclass(frozen=True, kw_only=True)
class PairedWalks:
    """Attributes: the schedule, the head on the logit, the clamp of each ratio (None: none), the
    KL's weight, and how walks are made."""

    schedule: NoiseSchedule
    loss: PairLoss
    walking: Walking
    clamp: float | None = None
    kl: float = 0.0

    def __post_init__(self) -> None:
        _check_kl(self.kl)
        kernel.check_clamp(self.clamp)

    @property
    def couples_batch(self) -> bool:
        return False

    @property
    def prompts_apart(self) -> bool:
        return True

    @property
    def first_loss(self) -> float:
        """The loss while the policy equals its reference."""
        return self.loss.at_start

    def draw(self, nets: Nets, batch: Transitions, draws: Draws, /) -> Transitions:
        """Return the steps as they are: they were drawn when they were sampled."""
        del nets, draws
        return batch

    def measure(self, net: Denoiser, point: Transitions, /) -> Measure:
        """Return the (guided) prediction at each state, [n c h w]."""
        return predict(net, point.state, point.plan.guidance)

    def compare(self, policy: Measure, reference: Measure | None, point: Transitions, /) -> Loss:
        """Return the mean over pairs of weight x (head + kl x KL), and every pair's health."""
        theirs = needed(reference)
        state, shape = point.state, point.score.shape
        gain = kernel.gains(self.schedule, state.t, state.s, eta=point.plan.eta)
        move = self.schedule.transition(state.t, state.s, eta=point.plan.eta)
        apart = widen(point.x_s).to(theirs) - mean_of(move, state.x_t.to(theirs), theirs)
        z = apart / move.std.to(theirs).view(-1, 1, 1, 1)
        ratio = kernel.log_ratio(gain, z, policy, theirs)
        ratio, outside = kernel.held(ratio, self.clamp)
        label = point.score.to(ratio)
        logit = self.loss.logit(ratio.view(shape), None, label)
        divergence = kernel.step_kl(gain, policy, theirs).view(shape).mean(dim=1)
        value = self.loss.head(logit, label) + self.kl * divergence
        metrics: dict[str, PerPrompt] = {
            "logit": logit.detach(),
            "margin": (logit / self.loss.beta).detach(),
            "implicit_accuracy": (logit.detach().sign() + 1) / 2,
            "step_kl": divergence.detach(),
            "clamped": outside.view(shape).mean(dim=1),
        }
        return weighted(value, metrics, point)


@dataclass(frozen=True, kw_only=True)
class GradedWalks:
    """Attributes: the schedule, how far the ratio to the sampler may move, the KL's weight, and
    how walks are made."""

    schedule: NoiseSchedule
    walking: Walking
    range: float
    kl: float = 0.0

    def __post_init__(self) -> None:
        _check_kl(self.kl)
        if not self.range > 0:
            raise ValueError(f"range must be above 0, got {self.range}")

    @property
    def couples_batch(self) -> bool:
        return False

    @property
    def prompts_apart(self) -> bool:
        return True

    def draw(self, nets: Nets, batch: Transitions, draws: Draws, /) -> Transitions:
        """Return the steps as they are: they were drawn when they were sampled."""
        del nets, draws
        return batch

    def measure(self, net: Denoiser, point: Transitions, /) -> Measure:
        """Return the (guided) prediction at each state, [n c h w]."""
        return predict(net, point.state, point.plan.guidance)

    def compare(self, policy: Measure, reference: Measure | None, point: Transitions, /) -> Loss:
        """Return the mean over rows of weight x (clipped surrogate + kl x KL), and their health."""
        state = point.state
        move = self.schedule.transition(state.t, state.s, eta=point.plan.eta)
        gain = kernel.gains(self.schedule, state.t, state.s, eta=point.plan.eta)
        mean = mean_of(move, state.x_t.to(policy), policy)
        log_rho = kernel.log_ratio_of_means(move, point.x_s, mean, point.mean)
        rho, advantage = log_rho.exp(), point.score[:, 0].to(policy)
        clipped = rho.clamp(1 - self.range, 1 + self.range)
        value = -torch.minimum(rho * advantage, clipped * advantage)
        metrics: dict[str, PerPrompt] = {
            "log_ratio": log_rho.detach(),
            "advantage": advantage,
            "clamped": (rho != clipped).to(policy.dtype),
        }
        if self.kl or reference is not None:
            divergence = kernel.step_kl(gain, policy, needed(reference))
            value = value + self.kl * divergence
            metrics["step_kl"] = divergence.detach()
        return weighted(value, metrics, point)


def weighted(value: Float[Tensor, " b"], metrics: dict[str, PerPrompt], point: Transitions) -> Loss:
    """Return the mean of weight x value, its step and loss among the metrics."""
    weight = torch.ones_like(value) if point.weight is None else point.weight.to(value)
    metrics["t"] = point.t.view(point.score.shape)[:, 0].to(value)
    metrics["loss"] = value.detach()
    return Loss((weight * value).mean(), metrics)


def _check_kl(kl: float) -> None:
    if kl < 0:
        raise ValueError(f"kl must be at least 0, got {kl}")
