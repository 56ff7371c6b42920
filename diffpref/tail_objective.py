r"""Differentiating a reward through the end of sampling: ReFL, DRaFT, AlignProp.

    L = E head( r(x_0(theta), c) )      x_0 from x_t by the sampler's last steps, or in one step

The steps down to x_t are sampled without gradient. Rows may have tails of different lengths; a
row's measurement is its reward.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.schedule import NoiseSchedule
from diffpref.steps import State, StepPlan, predict
from diffpref.trajectories.stepping import mean_of, noise_of, starting, state_at
from diffpref.trajectories.walk import walk
from diffpref.types import (
    Denoiser,
    Latents,
    Loss,
    Measure,
    Nets,
    PerImage,
    PerPrompt,
    PerRow,
    PromptBatch,
    Reward,
    Steps,
)

Cut = Callable[[Draws, int], Int[Tensor, " b"]]
"""(draws, number of steps) -> how many steps of each prompt are sampled without gradient."""


def late_cut(low: float, high: float) -> Cut:
    """Return a cut uniform between two shares of the steps, 0 <= low < high <= 1.

    At least one step is left.
    """
    if not 0 <= low < high <= 1:
        raise ValueError(f"shares must be 0 <= low < high <= 1, got {low} and {high}")

    def cut(draws: Draws, steps: int) -> Int[Tensor, " b"]:
        first = min(int(low * steps), steps - 1)
        return draws.integers("tail", first, max(first + 1, round(high * steps)))

    return cut


@dataclass(frozen=True, kw_only=True)
class Tail:
    """Where sampling stopped, and the noise of the steps that are left.

    Attributes:
        state: b rows, each at its own step.
        cut: number of the step the row is before.
        noise: z of every step of the plan from the earliest cut on; of none where x_t is cleaned
            at once.
        prompts: one per row.
    """

    state: State
    cut: Steps
    noise: Float[Tensor, "b m c h w"]
    prompts: tuple[str, ...]

    @property
    def score(self) -> PerImage:
        return torch.zeros(len(self.cut), 1, device=self.cut.device)

    @property
    def weight(self) -> None:
        """Return none: prompts have no weights."""
        return

    @property
    def t(self) -> Steps:
        return self.state.t

    def __len__(self) -> int:
        return len(self.state)

    def rows(self, index: slice, /) -> "Tail":
        return replace(
            self,
            state=self.state.rows(index),
            cut=self.cut[index],
            noise=self.noise[index],
            prompts=self.prompts[index],
        )

    def gathered(self, gather: Callable[[Tensor], Tensor], /) -> "Tail":
        """Collect t and the cuts; the rest cannot be measured any more."""
        return replace(self, state=self.state.gathered(gather), cut=gather(self.cut))


@dataclass(frozen=True, kw_only=True)
class TailObjective:
    """Attributes: the schedule, how the policy samples, what judges it, where gradients begin,
    the head on rewards, and whether x_t is cleaned in one step instead of by the sampler."""

    schedule: NoiseSchedule
    plan: StepPlan
    reward: Reward
    cut: Cut
    head: Callable[[PerRow], PerRow]
    at_once: bool = False

    def __post_init__(self) -> None:
        if not self.reward.differentiable or self.reward.noisy:
            kind = "one without gradient" if self.reward.noisy is False else "one of noisy latents"
            raise ConfigError(
                f"this method differentiates a reward of clean images, and this is {kind}",
                where="reward",
                hint="choose a differentiable reward, or method: nft",
            )

    @property
    def couples_batch(self) -> bool:
        return False

    @property
    def prompts_apart(self) -> bool:
        return True

    def draw(self, nets: Nets, batch: PromptBatch, draws: Draws, /) -> Tail:
        """Sample down to each prompt's cut."""
        plan = self.plan
        cut = self.cut(draws, len(plan.levels)).to(batch.noise.device)
        first, last = int(cut.min()), int(cut.max())
        kept = starting(batch, plan)
        path = walk(nets.policy, self.schedule, batch, draws, plan=plan)
        for number, (_, _, x_s) in enumerate(islice(path, last), 1):
            kept = _taken(kept, state_at(batch, x_s, plan, number), cut >= number)
        shape = tuple(batch.noise.shape[1:])
        steps = range(0) if self.at_once else range(first, len(plan.levels))
        none = batch.noise[:, None][:, :0]
        left = [noise_of(draws, number, shape, 1).to(none) for number in steps]
        noise = torch.cat([none, *left], dim=1)
        return Tail(state=kept, cut=cut, noise=noise, prompts=batch.prompts)

    def measure(self, net: Denoiser, point: Tail, /) -> Measure:
        """Return each row's reward, [n], at least float32."""
        x = self._cleaned(net, point.state) if self.at_once else self._sampled(net, point)
        value = self.reward(x, None, point.prompts)
        return value.to(torch.promote_types(value.dtype, torch.float32))

    def compare(self, policy: Measure, reference: Measure | None, point: Tail, /) -> Loss:
        """Return the mean over prompts of weight x head, and the rewards."""
        value = self.head(policy)
        metrics: dict[str, PerPrompt] = {
            "reward": policy.detach(),
            "t": point.t.to(value),
            "loss": value.detach(),
        }
        if reference is not None:
            metrics["reward_gain"] = (policy - reference).detach()
        return Loss(value.mean(), metrics)

    def _cleaned(self, net: Denoiser, state: State) -> Latents:
        eps = predict(net, state, self.plan.guidance)
        return self.schedule.clean(state.x_t.to(eps), eps, state.t)

    def _sampled(self, net: Denoiser, point: Tail) -> Latents:
        """Take the steps that are left, rows that have longer tails first."""
        x, total = point.state.x_t, len(self.plan.levels)
        for number in range(int(point.cut.min()), total):
            index = (point.cut <= number).nonzero()[:, 0]
            state = _chosen(point.state, x, index, *self.plan.levels[number])
            eps = predict(net, state, self.plan.guidance)
            move = self.schedule.transition(state.t, state.s, eta=self.plan.eta)
            mean = mean_of(move, state.x_t, eps)
            z = point.noise[index, number - total].to(mean)
            moved = mean + move.std.to(mean).view(-1, 1, 1, 1) * z
            x = x.to(moved).index_copy(0, index, moved)
        return x


def _taken(old: State, new: State, fresh: Tensor) -> State:
    """Return rows of the newer state where they are still on their way."""
    return replace(
        old,
        x_t=torch.where(fresh.view(-1, 1, 1, 1), new.x_t, old.x_t.to(new.x_t)),
        t=torch.where(fresh, new.t, old.t),
        s=torch.where(fresh, new.s, old.s),
    )


def _chosen(state: State, x: Latents, index: Tensor, t: int, s: int) -> State:
    def at(level: int) -> Steps:
        return torch.full_like(index, level)

    uncond = state.uncond
    return State(
        x_t=x[index],
        t=at(t),
        s=at(s),
        cond=state.cond.map(lambda each: each[index]),
        uncond=None if uncond is None else uncond.map(lambda each: each[index]),
    )
