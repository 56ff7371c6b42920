"""Branched rollouts: candidates of one state are ranked on the way from noise to a clean image.

At every step k candidates x_s are drawn from one x_t and judged, and one of them continues.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.schedule import NoiseSchedule, StepCoefficients
from diffpref.steps import State, StepPlan, predict
from diffpref.trajectories.stepping import (
    below_of,
    chosen_of,
    mean_of,
    noise_of,
    over_pixels,
    rows_of,
    starting,
)
from diffpref.types import Denoiser, Latents, PerImage, PromptBatch, Reward

Continue = Literal["winner", "random", "loser", "first"]
Displace = Callable[[State, Latents, StepCoefficients], Latents]
"""(state at s of the winners, mu, coefficients of the step) -> moved winners' x_s."""


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One step of b states: k candidates each, their rewards, and which two make a pair.

    Attributes:
        state: b rows at t.
        x_s: the candidates.
        mean: mu, [b c h w].
        reward: of each candidate.
        best, worst: numbers of the highest and the lowest candidate.
        moved: the winners after displacement, [b c h w]; None where nothing was displaced.
    """

    state: State
    x_s: Float[Tensor, "b k c h w"]
    mean: Float[Tensor, "b c h w"]
    reward: PerImage
    best: Int[Tensor, " b"]
    worst: Int[Tensor, " b"]
    moved: Float[Tensor, "b c h w"] | None = None


def branched(
    net: Denoiser,
    schedule: NoiseSchedule,
    batch: PromptBatch,
    reward: Reward,
    draws: Draws,
    *,
    plan: StepPlan,
    k: int = 2,
    continue_from: Continue = "winner",
    start: int = 0,
    skip_last: bool = True,
    displace: Displace | None = None,
) -> Iterator[Branch]:
    r"""Yield every judged step of b prompts, from noisy to clean.

    A candidate is judged by the reward of \hat x_0(x_s) with the network's prediction at s, which
    is then the prediction the next step starts from; the last step's candidates are judged as
    they are. A `noisy` reward judges x_s itself at s. The network is called on 1 row at the first
    step, on k rows after each judged step but the last, on 1 after the others.

    Args:
        net: who samples.
        schedule: signal power by step.
        batch: prompts and their starting noise.
        reward: judges latents; higher is better.
        draws: keyed by the prompts' positions.
        plan: levels, eta and guidance.
        k: candidates of a state.
        continue_from: which candidate the next step starts from. `first` is for debugging: the
            path is that of k = 1.
        start: steps sampled plainly before the first judged one.
        skip_last: sample the last step plainly too: its noise is almost nothing.
        displace: moves the winners, e.g. along the reward's gradient.

    Returns:
        Branches; nothing is kept of earlier ones.

    Raises:
        ValueError: k is below 2.
    """
    if k < 2:
        raise ValueError(f"a pair needs k of at least 2 candidates, got {k}")
    last = len(plan.levels) - 1
    state, eps = starting(batch, plan), None
    for number in range(len(plan.levels)):
        judged = number >= start and not (skip_last and number == last)
        count = k if judged else 1
        eps = predict(net, state, plan.guidance) if eps is None else eps
        move = schedule.transition(state.t, state.s, eta=plan.eta)
        mean = mean_of(move, state.x_t, eps)
        x_s = _candidates(draws, move, mean, number, count)
        below = below_of(batch, x_s.flatten(0, 1), plan, number, count)
        if not judged:
            state, eps = below, None
            continue
        bare = reward.noisy or number == last
        eps_s = None if bare else predict(net, below, plan.guidance)
        value = judge(schedule, reward, below, eps_s, batch.prompts, k=k)
        best, worst = value.argmax(dim=1), value.argmin(dim=1)
        moved = None
        if displace is not None:
            moved = displace(chosen_of(below, best, k), mean, move)
        yield Branch(
            state=state, x_s=x_s, mean=mean, reward=value, best=best, worst=worst, moved=moved
        )
        chosen = _continuing(continue_from, best, worst, draws, number=number, k=k)
        state = chosen_of(below, chosen, k)
        eps = None if eps_s is None else rows_of(eps_s, chosen, k)
        if moved is not None and continue_from == "winner":
            state, eps = replace(state, x_t=moved), None


def judge(
    schedule: NoiseSchedule,
    reward: Reward,
    below: State,
    eps: Latents | None,
    prompts: tuple[str, ...],
    *,
    k: int,
) -> PerImage:
    """Return the reward of every candidate, [b k]; without a prediction x_s counts as clean."""
    asked = tuple(prompt for prompt in prompts for _ in range(k))
    if reward.noisy:
        value = reward(below.x_t, below.t, asked)
    elif eps is None:
        value = reward(below.x_t, None, asked)
    else:
        value = reward(schedule.clean(below.x_t, eps.to(below.x_t), below.t), None, asked)
    return value.view(-1, k)


def _candidates(
    draws: Draws, move: StepCoefficients, mean: Latents, number: int, k: int
) -> Float[Tensor, "b k c h w"]:
    z = noise_of(draws, number, tuple(mean.shape[1:]), k).to(mean)
    return mean[:, None] + over_pixels(move.std, mean)[:, None] * z


def _continuing(
    rule: Continue, best: Tensor, worst: Tensor, draws: Draws, *, number: int, k: int
) -> Int[Tensor, " b"]:
    if rule == "winner":
        return best
    if rule == "loser":
        return worst
    if rule == "first":
        return torch.zeros_like(best)
    return draws.integers(f"rollout/continue/{number}", 0, k).to(best)
