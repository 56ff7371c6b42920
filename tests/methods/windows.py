"""What methods learn from, small and exact: windows of every unit, sliced, weighted, narrowed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffpref.schedule import NoiseSchedule
from diffpref.steps import State, StepPairs, StepPlan, Transitions
from diffpref.trajectories.stepping import mean_of
from diffpref.types import Conditioning, Latents, PreferenceBatch, PromptBatch

Window = PreferenceBatch | StepPairs | Transitions | PromptBatch


def step_pairs(batch: PreferenceBatch, schedule: NoiseSchedule, plan: StepPlan) -> StepPairs:
    """Return pairs of candidates whose states are the first images, at the plan's steps in turn."""
    b, dtype = len(batch), batch.latents.dtype
    state = _states(batch.latents[:, 0], batch.cond, plan, 1)
    rng = torch.Generator().manual_seed(5)
    best, worst = torch.randn((2, *state.x_t.shape), generator=rng, dtype=dtype)
    eps = 0.3 * torch.randn(state.x_t.shape, generator=rng, dtype=dtype)
    move = schedule.transition(state.t, state.s, eta=plan.eta)
    mean = mean_of(move, state.x_t, eps)
    std = move.std.to(mean).view(-1, 1, 1, 1)
    return StepPairs(
        state=state,
        dz=best - worst,
        mid=(mean + std * (best + worst) / 2).to(dtype),
        gap=torch.rand((b, 1), generator=rng, dtype=dtype) + 0.1,
        plan=plan,
        positions=batch.positions,
    )


def transitions(
    batch: PreferenceBatch,
    schedule: NoiseSchedule,
    plan: StepPlan,
    sampler: Callable[..., Latents],
    *,
    graded: bool,
) -> Transitions:
    """Return sampled steps: pairs of walks, or single steps with advantages when graded."""
    k, dtype = (1 if graded else 2), batch.latents.dtype
    state = _states(batch.latents[:, :k].flatten(0, 1), batch.cond, plan, k)
    rng = torch.Generator().manual_seed(6)
    move = schedule.transition(state.t, state.s, eta=plan.eta)
    with torch.no_grad():
        wide = state.cond.map(lambda tensor: tensor.double())
        mean = mean_of(move, state.x_t.double(), sampler(state.x_t.double(), state.t, wide))
    z = torch.randn(mean.shape, generator=rng, dtype=torch.float64)
    advantage = torch.randn((len(batch), 1), generator=rng, dtype=dtype)
    return Transitions(
        state=state,
        x_s=(mean + move.std.view(-1, 1, 1, 1) * z).to(dtype),
        mean=mean.to(dtype),
        score=advantage if graded else batch.score,
        plan=plan,
        positions=batch.positions,
    )


def prompts(batch: PreferenceBatch) -> PromptBatch:
    """Return the prompts with the first images as starting noise."""
    return PromptBatch(
        prompts=batch.prompts,
        cond=batch.cond,
        noise=batch.latents[:, 0],
        positions=batch.positions,
    )


def one(window: Any, i: int) -> Any:
    """Return the window of the i-th prompt alone."""
    index = slice(i, i + 1)
    alone: dict[str, Any] = {"positions": window.positions[index]}
    if isinstance(window, PreferenceBatch | PromptBatch):
        alone |= {"cond": window.cond.rows(index), "prompts": window.prompts[index]}
    if isinstance(window, PreferenceBatch):
        alone |= {"latents": window.latents[index], "score": window.score[index]}
    if isinstance(window, PromptBatch):
        alone["noise"] = window.noise[index]
    if isinstance(window, StepPairs):
        alone |= {"state": window.state.rows(index), "gap": window.gap[index]}
        alone |= {"dz": window.dz[index], "mid": window.mid[index]}
    if isinstance(window, Transitions):
        k = window.score.shape[1]
        rows = slice(i * k, (i + 1) * k)
        alone |= {"state": window.state.rows(rows), "score": window.score[index]}
        alone |= {"x_s": window.x_s[rows], "mean": window.mean[rows]}
    return replace(window, **alone)


def flipped(window: Any) -> Any:
    """Return the window with every prompt's images in reverse order."""
    if isinstance(window, PreferenceBatch):
        return replace(window, latents=window.latents.flip(1), score=window.score.flip(1))
    b, k = window.score.shape
    order = torch.arange(b * k).view(b, k).flip(1).flatten()
    state = replace(
        window.state,
        **{name: getattr(window.state, name)[order] for name in ("x_t", "t", "s")},
        cond=window.state.cond.map(lambda tensor: tensor[order]),
    )
    return replace(
        window,
        state=state,
        x_s=window.x_s[order],
        mean=window.mean[order],
        score=window.score.flip(1),
    )


def weighted(window: Any, weight: Tensor) -> Any:
    """Return the window with weights on its prompts, where it can have any."""
    return window if isinstance(window, PromptBatch) else replace(window, weight=weight)


def narrowed(window: Any, dtype: torch.dtype) -> Any:
    """Return the window with latents of this dtype and half-precision conditioning."""
    names = {"latents", "dz", "mid", "x_s", "mean", "noise"} & vars(window).keys()
    changed: dict[str, Any] = {name: getattr(window, name).to(dtype) for name in names}
    if hasattr(window, "state"):
        state = window.state
        changed["state"] = replace(state, x_t=state.x_t.to(dtype), cond=_half(state.cond))
    else:
        changed["cond"] = _half(window.cond)
    return replace(window, **changed)


def asking_gradient(window: Any) -> tuple[Any, Tensor]:
    """Return the window with latents that could receive gradient, and those."""
    name = "noise" if isinstance(window, PromptBatch) else "latents"
    leaf = getattr(window, name).clone().requires_grad_()
    return replace(window, **{name: leaf}), leaf


def _half(cond: Conditioning) -> Conditioning:
    return cond.map(lambda tensor: tensor.half())


def _states(x: Latents, cond: Conditioning, plan: StepPlan, k: int) -> State:
    """Return states at the plan's steps in turn, a prompt's rows at one step."""
    levels = torch.tensor(plan.levels)[:-1]
    number = torch.arange(len(cond)).repeat_interleave(k) % len(levels)
    t, s = levels[number].T
    return State(x_t=x, t=t, s=s, cond=cond.repeat_rows(k))
