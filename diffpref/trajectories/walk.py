"""Walks: k images per prompt are sampled, every state on the way kept or only the clean ends."""

from collections import deque
from collections.abc import Iterator

from diffpref.draws import Draws
from diffpref.schedule import NoiseSchedule
from diffpref.steps import State, StepPlan, predict
from diffpref.trajectories.stepping import (
    mean_of,
    noise_of,
    over_pixels,
    repeated,
    state_at,
)
from diffpref.types import Denoiser, Latents, PromptBatch

START = "rollout/start"


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
    state = state_at(repeated(batch, k), noise.flatten(0, 1), plan, 0)
    for number in range(len(plan.levels)):
        eps = predict(net, state, plan.guidance)
        move = schedule.transition(state.t, state.s, eta=plan.eta)
        mean = mean_of(move, state.x_t, eps)
        z = noise_of(draws, number, shape, k).to(mean).flatten(0, 1)
        x_s = mean + over_pixels(move.std, mean) * z
        yield state, mean, x_s
        if number + 1 < len(plan.levels):
            state = state_at(repeated(batch, k), x_s, plan, number + 1)


def ended(steps: Iterator[tuple[State, Latents, Latents]]) -> Latents:
    """Return the clean latents a walk ends with, none of its earlier states kept."""
    ((_, _, x_0),) = deque(steps, maxlen=1)
    return x_0
