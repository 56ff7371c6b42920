r"""Preference between two candidates of one state, as a value: the logit, its head, its anchor.

    h = beta g_t < z^w - z^l, eps_theta - eps_ref >      g_t < 0: b / sigma, or what stands for it
    L = head(h) + kl KL_t(pi_theta | pi_ref)

The two networks run once per pair (`diffpref.kernel`). With `clamp` each candidate's ratio is held
in [1 - clamp, 1 + clamp] first, as the released SPO and D3PO scripts do; where both are outside,
the pair has no gradient.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diffpref import kernel
from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.kernel import StepWeight
from diffpref.losses import PairLoss
from diffpref.numerics import widen
from diffpref.schedule import NoiseSchedule
from diffpref.steps import StepPairs, StepPlan, predict
from diffpref.trajectories.rollout import Continue
from diffpref.trajectories.stepping import mean_of
from diffpref.types import Denoiser, Loss, Measure, Nets, PerPrompt, Steps


@dataclass(frozen=True, kw_only=True)
class Branching:
    """How an objective wants its step pairs made.

    Attributes:
        k: candidates of a state.
        continue_from: which candidate the next step starts from.
        start: share of the plan's steps sampled plainly first; their clean image is a blur.
        skip_last: leave the last step out.
        min_gap: pairs whose rewards differ by no more than this many standard deviations of the
            gaps at their step are left out.
        threshold: pairs with tanh(gap / 2) up to this are left out too: a share at the plan's
            step of least noise and one at that of most, linear in sigma between. It is the
            released SPO and LPO scripts' filter, for rewards that are logits; None: no such.
        push: longest displacement of the winner along the reward's gradient, in units of the
            noise's length sigma sqrt(c h w); 0 is none.
        noisy: whether candidates must be judged as they are, by a reward of noisy latents.
    """

    k: int = 2
    continue_from: Continue = "winner"
    start: float = 0.2
    skip_last: bool = True
    min_gap: float = 0.25
    threshold: tuple[float, float] | None = None
    push: float = 0.0
    noisy: bool = False

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ValueError(f"k must be at least 2, got {self.k}")
        if not 0 <= self.start < 1:
            raise ValueError(f"start must be at least 0 and below 1, got {self.start}")
        if self.min_gap < 0 or self.push < 0:
            raise ValueError("min_gap and push must be at least 0")
        if any(not 0 <= share < 1 for share in self.threshold or ()):
            raise ValueError(f"threshold must be at least 0 and below 1, got {self.threshold}")

    def plain(self, steps: int) -> int:
        """Return how many of a plan's steps are sampled plainly first."""
        return round(self.start * steps)

    def keeps(
        self,
        gap: PerPrompt,
        spread: PerPrompt | float,
        *,
        schedule: NoiseSchedule,
        plan: StepPlan,
        t: Steps,
        s: Steps,
    ) -> Bool[Tensor, " b"]:
        """Return which pairs are learnt from.

        Args:
            gap: by how much the preferred candidate's reward is higher.
            spread: standard deviation of the gaps at the pairs' step.
            schedule: signal power by step.
            plan: how the pairs were sampled.
            t: level of each pair's state.
            s: the level below.

        Returns:
            False also for every pair whose gap is 0.
        """
        kept = (gap > 0) & (gap > self.min_gap * spread)
        if self.threshold is None:
            return kept
        low, high = self.threshold
        visited = torch.tensor(plan.levels, device=t.device)
        every = schedule.transition(visited[:, 0], visited[:, 1], eta=plan.eta).std
        std = schedule.transition(t, s, eta=plan.eta).std
        place = (std - every.min()) / (every.max() - every.min()).clamp(min=1e-12)
        return kept & (torch.tanh(gap / 2) > (low + (high - low) * place).to(gap))


@dataclass(frozen=True, kw_only=True)
class StepObjective:
    """Attributes: the schedule, the head on the logit, the step weight, the KL's weight, the
    clamp of each ratio (None: none), and how pairs are made."""

    schedule: NoiseSchedule
    loss: PairLoss
    branching: Branching
    weight: StepWeight = "flat"
    kl: float = 0.0
    clamp: float | None = None

    def __post_init__(self) -> None:
        if self.kl < 0:
            raise ValueError(f"kl must be at least 0, got {self.kl}")
        kernel.check_clamp(self.clamp)
        if self.clamp is not None and self.weight != "exact":
            raise ValueError(f"clamp holds exact ratios, and weight is {self.weight}")

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

    def draw(self, nets: Nets, batch: StepPairs, draws: Draws, /) -> StepPairs:
        """Return the pairs as they are: they were drawn when they were sampled."""
        del nets, draws
        return batch

    def measure(self, net: Denoiser, point: StepPairs, /) -> Measure:
        """Return the (guided) prediction at each state, [n c h w]."""
        return predict(net, point.state, point.plan.guidance)

    def compare(self, policy: Measure, reference: Measure | None, point: StepPairs, /) -> Loss:
        """Return the mean over pairs of weight x (head + kl x KL), and every pair's health."""
        reference, state = needed(reference), point.state
        gain = kernel.gains(self.schedule, state.t, state.s, eta=point.plan.eta)
        margin, clamped = self._margin(policy, reference, point, gain)
        label = torch.tensor([[1.0, 0.0]]).to(margin).expand(len(margin), 2)
        logit = self.loss.logit(_halves(margin), None, label)
        divergence = kernel.step_kl(gain, policy, reference)
        value = self.loss.head(logit, label) + self.kl * divergence
        weight = torch.ones_like(value) if point.weight is None else point.weight.to(value)
        metrics: dict[str, PerPrompt] = {
            "logit": logit.detach(),
            "margin": margin.detach(),
            "implicit_accuracy": (logit.detach().sign() + 1) / 2,
            "step_kl": divergence.detach(),
            "gap": point.gap[:, 0].to(value),
            "clamped": clamped,
            "t": state.t.to(value),
            "loss": value.detach(),
        }
        return Loss((weight * value).mean(), metrics)

    def _margin(
        self, policy: Measure, reference: Measure, point: StepPairs, gain: Float[Tensor, " n"]
    ) -> tuple[PerPrompt, PerPrompt]:
        """Return the difference of the log ratios, and the share of them that was clamped."""
        state, dz = point.state, point.dz.to(policy)
        if self.clamp is None:
            factor = kernel.weights(self.schedule, state.t, state.s, point.plan, self.weight)
            margin = kernel.pair_logit(factor, dz, policy, reference)
            return margin, torch.zeros_like(margin.detach())
        middle = self._middle(reference, point)
        sides = [
            kernel.log_ratio(gain, middle + half * dz, policy, reference) for half in (0.5, -0.5)
        ]
        (won, out), (lost, off) = (kernel.held(ratio, self.clamp) for ratio in sides)
        return won - lost, (out + off) / 2

    def _middle(self, reference: Measure, point: StepPairs) -> Tensor:
        """Return z_ref of the point halfway between the candidates."""
        if point.mid is None:
            raise ValueError("clamped ratios need StepPairs.mid")
        state = point.state
        move = self.schedule.transition(state.t, state.s, eta=point.plan.eta)
        mean = mean_of(move, state.x_t.to(reference), reference)
        return (point.mid.to(mean) - mean) / widen(move.std.to(mean)).view(-1, 1, 1, 1)


def needed(reference: Measure | None) -> Measure:
    """Return the reference's measurements; a ConfigError says that there are none."""
    if reference is None:
        raise ConfigError(
            "steps are compared with a reference",
            where="reference.kind",
            hint="set reference.kind: adapters_off (LoRA) or frozen",
        )
    return reference


def _halves(margin: PerPrompt) -> Float[Tensor, "b 2"]:
    """Return two log ratios with this difference, which is all a pair loss reads."""
    return torch.stack([margin / 2, -margin / 2], dim=1)
