"""The measured direction of an update, where a network is its own bias and the answer is known."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffpref.draws import Draws
from diffpref.methods.d3po import d3po
from diffpref.methods.tailorpo import tailorpo
from diffpref.schedule import NoiseSchedule
from diffpref.steps import StepPlan
from diffpref.toolkit import Toolkit
from diffpref.types import Conditioning, Latents, PerRow, PromptBatch, Steps
from scripts.online.alignment import World, alignment, cosines, same_state, two_walks
from tests.methods import windows

SHAPE = (2, 4, 4)


class Bias(nn.Module):
    """A network that always predicts its own parameter."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(1)
        self.value = nn.Parameter(torch.randn(SHAPE, generator=rng, dtype=torch.float64))

    def forward(self, x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        del t, cond
        return self.value.expand_as(x_t)


class Towards:
    """The inner product with a direction."""

    space, noisy, differentiable = "latent", False, True

    def __init__(self, direction: Tensor) -> None:
        self.direction = direction

    def __call__(self, x: Tensor, t: Steps | None, prompts: tuple[str, ...], /) -> PerRow:
        del t, prompts
        return (x * self.direction).sum(dim=(1, 2, 3))


def _cosine(a: Tensor, b: Tensor) -> float:
    return torch.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


@pytest.fixture
def world(schedule: NoiseSchedule, plan: StepPlan) -> World:
    rng = torch.Generator().manual_seed(2)
    direction = torch.randn(SHAPE, generator=rng, dtype=torch.float64)
    policy = Bias()
    return World(
        policy=policy,
        parameters=tuple(policy.parameters()),
        schedule=schedule,
        plan=plan,
        reward=Towards(direction),
    )


@pytest.fixture
def batch(make_batch: Callable[..., Any]) -> PromptBatch:
    return windows.prompts(make_batch(3))


def test_the_update_of_a_bias_is_along_what_sets_the_candidates_apart(
    world: World, batch: PromptBatch, kit: Toolkit
) -> None:
    draws = Draws(0, batch.positions)
    objective, reward = tailorpo(kit, kl=0.0), world.reward
    assert isinstance(reward, Towards)
    (value,) = world.parameters
    kept = value.detach().clone()
    found = list(same_state(world, batch, draws))
    assert [t for t, *_ in found] == [t for t, _ in world.plan.levels[:-1] for _ in range(3)]
    for _, pair, prompts in found:
        assert pair.gap.item() > 0
        cosine = alignment(world, objective, pair, prompts)
        assert cosine.item() == pytest.approx(_cosine(pair.dz, reward.direction), abs=1e-6)
        # The better candidate is the one further along the direction.
        assert cosine.item() > 0
    assert torch.allclose(value.detach(), kept, rtol=1e-12)


def test_the_update_of_walks_mixes_the_noises_of_two_states(
    world: World, batch: PromptBatch, kit: Toolkit, schedule: NoiseSchedule
) -> None:
    draws, reward = Draws(0, batch.positions), world.reward
    assert isinstance(reward, Towards)
    objective = d3po(kit, clamp=None, kl=0.0)
    for _, pair, prompts in two_walks(world, batch, draws):
        std = schedule.transition(pair.t, pair.state.s, eta=1.0).std.view(-1, 1, 1, 1)
        z = (pair.x_s - pair.mean) / std
        apart = z[0] - z[1] if pair.score[0, 0] > pair.score[0, 1] else z[1] - z[0]
        cosine = alignment(world, objective, pair, prompts)
        assert cosine.tolist() == pytest.approx([_cosine(apart, reward.direction)] * 2, abs=1e-6)


def test_every_step_and_prompt_is_measured_for_both_kinds(world: World, batch: PromptBatch) -> None:
    found = cosines(world, batch, Draws(0, batch.positions))
    assert set(found) == {"same state", "two walks"}
    for by_step in found.values():
        assert list(by_step) == [801, 601, 401, 201]
        assert all(len(values) == 3 for values in by_step.values())
    same = [value for values in found["same state"].values() for value in values]
    assert min(same) > 0
