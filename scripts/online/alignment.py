"""Does one update move the predicted clean image towards more reward? A measurement, as functions.

    cos( hat x_0(theta') - hat x_0(theta), grad_{hat x_0} r ),   theta' = theta - step x gradient

for one pair at a time, where the policy equals its reference: pairs of candidates of one state
(TailorPO's) against pairs of steps of two walks (D3PO's), neither clamped nor penalised.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from diffpref.draws import Draws
from diffpref.methods.d3po import d3po
from diffpref.methods.tailorpo import tailorpo
from diffpref.schedule import NoiseSchedule
from diffpref.steps import State, StepPairs, StepPlan, Transitions, predict
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.trajectories.rollout import branched
from diffpref.trajectories.walk import walk
from diffpref.types import AnyObjective, Denoiser, Latents, Nets, PerRow, PromptBatch, Reward


@dataclass(frozen=True, kw_only=True)
class World:
    """A policy with what is trained of it, where it samples, and what judges it."""

    policy: Denoiser
    parameters: tuple[nn.Parameter, ...]
    schedule: NoiseSchedule
    plan: StepPlan
    reward: Reward

    def clean(self, state: State) -> Latents:
        eps = predict(self.policy, state, self.plan.guidance)
        return self.schedule.clean(state.x_t, eps, state.t)


def alignment(
    world: World,
    objective: AnyObjective,
    window: Any,
    prompts: tuple[str, ...],
    *,
    length: float = 1e-3,
) -> PerRow:
    """Return the cosine at each row's state after one plain gradient step on the window.

    The policy is left as it was.

    Args:
        world: who is updated, and what judges.
        objective: the method; the reference is the policy as it is.
        window: StepPairs or Transitions.
        prompts: one per row of the window's states.
        length: of the step, relative to the parameters' own length.

    Returns:
        Cosines, [n]; 0 where nothing moves or the reward is flat.
    """
    state = window.state
    with torch.no_grad():
        before = world.clean(state)
        moved = _update(world, objective, window, length)
        change = (world.clean(state) - before).flatten(1)
        for parameter, shift in moved:
            parameter.sub_(shift)
    x = before.clone().requires_grad_()
    (slope,) = torch.autograd.grad(world.reward(x, None, prompts).sum(), x)
    return torch.cosine_similarity(change, slope.flatten(1), dim=1)


def _update(
    world: World, objective: AnyObjective, window: Any, length: float
) -> list[tuple[Tensor, Tensor]]:
    """Take the step, and return what was added to which parameter."""
    policy = world.policy
    for parameter in world.parameters:
        parameter.grad = None
    with torch.enable_grad():
        accumulate(objective, Nets(policy, policy), window, Draws(0, window.positions))
    pairs = [(each, each.grad) for each in world.parameters if each.grad is not None]
    trained, slopes = [each for each, _ in pairs], [grad.clone() for _, grad in pairs]
    long = sqrt(sum(float(slope.square().sum()) for slope in slopes))
    own = sqrt(sum(float(parameter.square().sum()) for parameter in trained))
    shifts = [-length * own / max(long, 1e-30) * slope for slope in slopes]
    for parameter, shift in zip(trained, shifts, strict=True):
        parameter.add_(shift)
    return list(zip(trained, shifts, strict=True))


def same_state(
    world: World, batch: PromptBatch, draws: Draws
) -> Iterator[tuple[int, StepPairs, tuple[str, ...]]]:
    """Yield (t, one pair of candidates of one state, its prompt) over the plan's steps."""
    with torch.no_grad():
        branches = list(
            branched(
                world.policy,
                world.schedule,
                batch,
                world.reward,
                draws,
                plan=world.plan,
                continue_from="first",
            )
        )
    # Nothing is yielded inside no_grad, which would hold for whoever asked.
    for branch in branches:
        rows = torch.arange(len(batch))
        won, lost = branch.x_s[rows, branch.best], branch.x_s[rows, branch.worst]
        move = world.schedule.transition(branch.state.t, branch.state.s, eta=world.plan.eta)
        dz = (won - lost) / move.std.to(won).view(-1, 1, 1, 1)
        gap = branch.reward.amax(dim=1, keepdim=True) - branch.reward.amin(dim=1, keepdim=True)
        for i in range(len(batch)):
            index = slice(i, i + 1)
            pair = StepPairs(
                state=branch.state.rows(index),
                dz=dz[index],
                gap=gap[index],
                plan=world.plan,
                positions=batch.positions[index],
            )
            yield int(pair.t), pair, batch.prompts[index]


def two_walks(
    world: World, batch: PromptBatch, draws: Draws
) -> Iterator[tuple[int, Transitions, tuple[str, ...]]]:
    """Yield (t, the steps of two walks from one noise, their prompts) over the plan's steps."""
    with torch.no_grad():
        steps = list(
            walk(world.policy, world.schedule, batch, draws, plan=world.plan, k=2, same_start=True)
        )
        prompts = tuple(prompt for prompt in batch.prompts for _ in range(2))
        reward = world.reward(steps[-1][2], None, prompts).view(-1, 2)
        score = (reward == reward.amax(dim=1, keepdim=True)).to(reward)
    for state, mean, x_s in steps[:-1]:
        for i in range(len(batch)):
            rows = slice(2 * i, 2 * i + 2)
            pair = Transitions(
                state=state.rows(rows),
                x_s=x_s[rows],
                mean=mean[rows],
                score=score[i : i + 1],
                plan=world.plan,
                positions=batch.positions[i : i + 1],
            )
            yield int(pair.t[0]), pair, prompts[rows]


def cosines(world: World, batch: PromptBatch, draws: Draws) -> dict[str, dict[int, list[float]]]:
    """Return every pair's cosine by kind of pair and step; a walk pair's is the mean of its two."""
    kit = Toolkit(schedule=world.schedule)
    kinds: dict[str, tuple[AnyObjective, Iterator[Any]]] = {
        "same state": (tailorpo(kit, weight="exact", kl=0.0), same_state(world, batch, draws)),
        "two walks": (d3po(kit, clamp=None, kl=0.0), two_walks(world, batch, draws)),
    }
    found: dict[str, dict[int, list[float]]] = {}
    for kind, (objective, pairs) in kinds.items():
        by_step = found.setdefault(kind, {})
        for t, window, prompts in list(pairs):
            value = alignment(world, objective, window, prompts).mean()
            by_step.setdefault(t, []).append(float(value))
    return found
