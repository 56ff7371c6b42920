"""Rollouts: the policy samples, and candidates of one state are ranked on the way.

    branched: at every step k candidates x_s are drawn from one x_t and judged; one continues
    walks: k images per prompt are sampled, every state on the way kept
    clean: k images per prompt are sampled

Noise is a function of (seed, position of the prompt, step, candidate), so that rollouts replay and
z need not be stored.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.draws import Draws, generator
from diffpref.numerics import widen
from diffpref.schedule import NoiseSchedule, StepCoefficients
from diffpref.steps import State, StepPlan, predict
from diffpref.types import Denoiser, Latents, PerImage, PromptBatch, Reward, Steps

Continue = Literal["winner", "random", "loser", "first"]
Displace = Callable[[State, Latents, StepCoefficients], Latents]
"""(state at s of the winners, mu, coefficients of the step) -> moved winners' x_s."""

START = "rollout/start"


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


def starting(batch: PromptBatch, plan: StepPlan) -> State:
    """Return the states of pure noise."""
    return state_at(batch, batch.noise, plan, 0)


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
        below = _below(batch, x_s.flatten(0, 1), plan, number, count)
        if not judged:
            state, eps = below, None
            continue
        bare = reward.noisy or number == last
        eps_s = None if bare else predict(net, below, plan.guidance)
        value = judge(schedule, reward, below, eps_s, batch.prompts, k=k)
        best, worst = value.argmax(dim=1), value.argmin(dim=1)
        moved = None
        if displace is not None:
            moved = displace(_chosen(below, best, k), mean, move)
        yield Branch(
            state=state, x_s=x_s, mean=mean, reward=value, best=best, worst=worst, moved=moved
        )
        chosen = _continuing(continue_from, best, worst, draws, number=number, k=k)
        state = _chosen(below, chosen, k)
        eps = None if eps_s is None else _rows_of(eps_s, chosen, k)
        if moved is not None and continue_from == "winner":
            state, eps = replace(state, x_t=moved), None


def walk(
    net: Denoiser,
    schedule: NoiseSchedule,
    batch: PromptBatch,
    draws: Draws,
    *,
    plan: StepPlan,
    k: int = 1,
    same_start: bool = False,
) -> Iterator[tuple[State, Latents, Latents]]:
    """Yield (state, mu, x_s) of every step of k images per prompt, n = b k rows, prompt-major.

    Args:
        net: who samples.
        schedule: signal power by step.
        batch: prompts; its noise starts every image of a prompt when `same_start`.
        draws: keyed by the prompts' positions.
        plan: levels, eta and guidance.
        k: images per prompt.
        same_start: start a prompt's images from one noise; else each has its own.

    Returns:
        One item per level of the plan; the last x_s is clean.
    """
    shape = tuple(batch.noise.shape[1:])
    noise = batch.noise[:, None].expand(-1, k, *shape)
    if not same_start and k > 1:
        noise = draws.normal(START, shape, images=k).to(batch.noise)
    state = state_at(_repeated(batch, k), noise.flatten(0, 1), plan, 0)
    for number in range(len(plan.levels)):
        eps = predict(net, state, plan.guidance)
        move = schedule.transition(state.t, state.s, eta=plan.eta)
        mean = mean_of(move, state.x_t, eps)
        z = noise_of(draws, number, shape, k).to(mean).flatten(0, 1)
        x_s = mean + _wide(move.std, mean) * z
        yield state, mean, x_s
        if number + 1 < len(plan.levels):
            state = state_at(_repeated(batch, k), x_s, plan, number + 1)


def ended(steps: Iterator[tuple[State, Latents, Latents]]) -> Latents:
    """Return the clean latents a walk ends with, none of its earlier states kept."""
    ((_, _, x_0),) = deque(steps, maxlen=1)
    return x_0


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


def noise_of(
    draws: Draws, number: int, shape: tuple[int, ...], k: int
) -> Float[Tensor, "b k *shape"]:
    """Return z of step `number` of a plan, of k candidates or images per prompt."""
    return draws.normal(stream(number), shape, images=k)


def one_noise(
    seed: int, position: int, number: int, shape: tuple[int, ...], image: int
) -> Float[Tensor, "*shape"]:
    """Return z of one candidate or image of one prompt: a row of `noise_of`."""
    return torch.randn(shape, generator=generator(seed, position, stream(number), image))


def stream(number: int) -> str:
    """Return the name of the draw behind step `number` of a plan."""
    return f"rollout/{number}"


def mean_of(move: StepCoefficients, x_t: Latents, eps: Latents) -> Latents:
    """Return mu = signal x_t + b eps in the working precision."""
    wide = widen(eps)
    return _wide(move.signal, wide) * widen(x_t).to(wide) + _wide(move.noise, wide) * wide


def _candidates(
    draws: Draws, move: StepCoefficients, mean: Latents, number: int, k: int
) -> Float[Tensor, "b k c h w"]:
    z = noise_of(draws, number, tuple(mean.shape[1:]), k).to(mean)
    return mean[:, None] + _wide(move.std, mean)[:, None] * z


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


def state_at(batch: PromptBatch, x: Latents, plan: StepPlan, number: int) -> State:
    """Return the states x before step `number` of the plan, one per prompt."""
    t, s = plan.levels[number]
    return _state(batch, x, t, s, plan)


def _state(batch: PromptBatch, x: Latents, t: int, s: int, plan: StepPlan) -> State:
    def steps(level: int) -> Steps:
        return torch.full((len(x),), level, device=x.device)

    guided = plan.guidance != 1
    return State(
        x_t=x, t=steps(t), s=steps(s), cond=batch.cond, uncond=batch.uncond if guided else None
    )


def _below(batch: PromptBatch, x_s: Latents, plan: StepPlan, number: int, k: int) -> State:
    """Return the states at the level a step leads to; there is no next level below the last."""
    t, s = (
        plan.levels[number + 1] if number + 1 < len(plan.levels) else (plan.levels[number][1], -1)
    )
    return _state(_repeated(batch, k), x_s, t, s, plan)


def _repeated(batch: PromptBatch, k: int) -> PromptBatch:
    uncond = None if batch.uncond is None else batch.uncond.repeat_rows(k)
    return replace(batch, cond=batch.cond.repeat_rows(k), uncond=uncond)


def _rows_of(rows: Tensor, chosen: Int[Tensor, " b"], k: int) -> Tensor:
    index = torch.arange(len(chosen), device=chosen.device) * k + chosen
    return rows[index.to(rows.device)]


def _chosen(state: State, chosen: Int[Tensor, " b"], k: int) -> State:
    uncond = state.uncond
    return State(
        x_t=_rows_of(state.x_t, chosen, k),
        t=_rows_of(state.t, chosen, k),
        s=_rows_of(state.s, chosen, k),
        cond=state.cond.map(lambda tensor: _rows_of(tensor, chosen, k)),
        uncond=None if uncond is None else uncond.map(lambda each: _rows_of(each, chosen, k)),
    )


def _wide(values: Tensor, like: Latents) -> Tensor:
    return values.to(like).view(-1, 1, 1, 1)
