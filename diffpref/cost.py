"""What a method asks of the UNet, counted."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.catalogue import build_objective, find_method
from diffpref.draws import Draws
from diffpref.objective import PreferenceObjective
from diffpref.sampling_cost import Counter, sampling_cost
from diffpref.schedule import scaled_linear
from diffpref.step_objective import StepObjective
from diffpref.steps import State, StepPairs, StepPlan, Transitions
from diffpref.toolkit import Toolkit
from diffpref.types import (
    AnyObjective,
    Conditioning,
    Embedder,
    Latents,
    Nets,
    PreferenceBatch,
    PromptBatch,
    Steps,
)
from diffpref.walk_objective import PairedWalks

PROMPTS = 100
IMAGES_OF = {"unpaired": 1, "lists": 4}
PLAN = StepPlan(levels=tuple((1 + 50 * i, max(0, 50 * i - 49)) for i in range(19, -1, -1)))
"""Stable Diffusion's 20 steps ('leading' with offset 1), without guidance, which doubles all."""


def cost(name: str) -> dict[str, object]:
    """Return what a method asks of the UNet per unit of what it learns from, at its defaults.

    Counted by running the method once on stand-in networks, over steps spread evenly.

    Returns:
        per: what the numbers are for; without_gradient, with_gradient: images the UNet is run on;
        forwards: their sum in forward passes, a backward counting as two; sampling: for methods
        that learn from sampled steps, network images and reward calls spent on making one unit,
        in 20 steps without guidance.
    """
    method = find_method(name)
    kit = Toolkit(schedule=scaled_linear(), embedder=_echo_of, reward=Counter, plan=lambda: PLAN)
    objective = build_objective(name, kit, {}, {})
    if isinstance(objective, PreferenceObjective):
        grid = torch.arange(PROMPTS) * objective.length // PROMPTS

        def spread(draws: Draws, length: int) -> Int[Tensor, " b"]:
            del draws, length
            return grid

        objective = replace(objective, timesteps=spread)
    per, window = _window(objective, method.data)
    counted = images_of(objective, window, Draws(0, window.positions), method.reference == "needed")
    bare, graded = (count / PROMPTS for count in counted)
    return {
        "per": per,
        "without_gradient": round(bare, 2),
        "with_gradient": round(graded, 2),
        "forwards": round(bare + 3 * graded, 2),
        "sampling": sampling_cost(objective, kit.schedule, PLAN),
    }


def images_of(
    objective: AnyObjective, window: Any, draws: Draws, referenced: bool
) -> tuple[int, int]:
    """Return how many images a network is run on for a window, without gradient and with.

    Counted with stand-ins; latents of one number will do.
    """
    counted = {True: 0, False: 0}

    def net(x: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        del t, cond
        counted[torch.is_grad_enabled()] += len(x)
        return x * weight

    weight = torch.ones((), requires_grad=True)
    nets = Nets(policy=net, reference=net if referenced else None)
    with torch.no_grad():
        point = objective.draw(nets, window, draws)
        if nets.reference is not None:
            objective.measure(nets.reference, point)
    objective.measure(nets.policy, point)
    return counted[False], counted[True]


def _window(objective: AnyObjective, unit: str) -> tuple[str, Any]:
    """Return what one unit is called, and a window of 100."""
    if unit == "prompts":
        return "prompt", _prompts()
    if isinstance(objective, StepObjective):
        return "pair of candidates", _pairs()
    if unit == "walks":
        paired = isinstance(objective, PairedWalks)
        return "pair of steps" if paired else "step", _transitions(2 if paired else 1)
    images = IMAGES_OF.get(unit, 2)
    named: Mapping[str, str] = {"unpaired": "image", "lists": "list of 4"}
    batch = PreferenceBatch(
        latents=torch.zeros(PROMPTS, images, 1, 1, 1),
        cond=_cond(PROMPTS),
        score=torch.linspace(1, 0, images).expand(PROMPTS, images),
        positions=torch.arange(PROMPTS),
    )
    return named.get(unit, "pair"), batch


def _pairs() -> StepPairs:
    return StepPairs(
        state=_states(PROMPTS),
        dz=_latents(PROMPTS),
        gap=torch.ones(PROMPTS, 1),
        plan=PLAN,
        positions=torch.arange(PROMPTS),
        mid=_latents(PROMPTS),
    )


def _transitions(k: int) -> Transitions:
    return Transitions(
        state=_states(k * PROMPTS),
        x_s=_latents(k * PROMPTS),
        mean=_latents(k * PROMPTS),
        score=torch.linspace(1, 0, k).expand(PROMPTS, k),
        plan=PLAN,
        positions=torch.arange(PROMPTS),
    )


def _prompts() -> PromptBatch:
    return PromptBatch(
        prompts=("",) * PROMPTS,
        cond=_cond(PROMPTS),
        noise=_latents(PROMPTS),
        positions=torch.arange(PROMPTS),
    )


def _states(rows: int) -> State:
    t, s = torch.tensor(PLAN.levels)[torch.arange(rows) % len(PLAN.levels)].T
    return State(x_t=_latents(rows), t=t, s=s, cond=_cond(rows))


def _latents(rows: int) -> Latents:
    return torch.zeros(rows, 1, 1, 1)


def _cond(rows: int) -> Conditioning:
    return Conditioning(text=torch.zeros(rows, 1, 1))


def _echo_of(layer: str) -> Embedder:
    """Stand for a feature network, whose passes are not the UNet's."""
    del layer

    def echo(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        del t, cond
        return x_t

    return echo
