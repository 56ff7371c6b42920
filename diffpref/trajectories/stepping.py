"""One step of a rollout: its noise, its mean, and the states before and after it.

Noise is a function of (seed, position of the prompt, step, candidate), so that rollouts replay and
z need not be stored.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.draws import Draws, generator
from diffpref.numerics import widen
from diffpref.schedule import StepCoefficients
from diffpref.steps import State, StepPlan
from diffpref.types import Latents, PromptBatch, Steps


def starting(batch: PromptBatch, plan: StepPlan) -> State:
    """Return the states of pure noise."""
    return state_at(batch, batch.noise, plan, 0)


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
    return (
        over_pixels(move.signal, wide) * widen(x_t).to(wide) + over_pixels(move.noise, wide) * wide
    )


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


def below_of(batch: PromptBatch, x_s: Latents, plan: StepPlan, number: int, k: int) -> State:
    """Return the states at the level a step leads to; there is no next level below the last."""
    t, s = (
        plan.levels[number + 1] if number + 1 < len(plan.levels) else (plan.levels[number][1], -1)
    )
    return _state(repeated(batch, k), x_s, t, s, plan)


def repeated(batch: PromptBatch, k: int) -> PromptBatch:
    """Return the prompts, each k times in a row."""
    uncond = None if batch.uncond is None else batch.uncond.repeat_rows(k)
    return replace(batch, cond=batch.cond.repeat_rows(k), uncond=uncond)


def rows_of(rows: Tensor, chosen: Int[Tensor, " b"], k: int) -> Tensor:
    """Return the chosen one of every k rows."""
    index = torch.arange(len(chosen), device=chosen.device) * k + chosen
    return rows[index.to(rows.device)]


def chosen_of(state: State, chosen: Int[Tensor, " b"], k: int) -> State:
    """Return the chosen one of every k states."""
    uncond = state.uncond
    return State(
        x_t=rows_of(state.x_t, chosen, k),
        t=rows_of(state.t, chosen, k),
        s=rows_of(state.s, chosen, k),
        cond=state.cond.map(lambda tensor: rows_of(tensor, chosen, k)),
        uncond=None if uncond is None else uncond.map(lambda each: rows_of(each, chosen, k)),
    )


def over_pixels(values: Tensor, like: Latents) -> Tensor:
    """Return one value per row in the shape that meets [n c h w]."""
    return values.to(like).view(-1, 1, 1, 1)
