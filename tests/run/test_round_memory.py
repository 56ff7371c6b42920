"""What a round holds while it is made, and that what is drawn again is what was sampled."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffpref.draws import Draws
from diffpref.models import Bundle, make_denoiser
from diffpref.models.ladder import visited_levels
from diffpref.models.live import Live
from diffpref.models.load import load_bundle
from diffpref.run.rollouts.asked import Prompts
from diffpref.run.rollouts.clean import CleanMaker
from diffpref.run.rollouts.makers import Maker
from diffpref.run.rollouts.rounds import Rounds
from diffpref.run.rollouts.source import Rollouts
from diffpref.run.rollouts.step_pairs import StepPairMaker
from diffpref.run.rollouts.tally import Tally
from diffpref.run.rollouts.walks import WalkMaker
from diffpref.step_objective import Branching
from diffpref.steps import StepPlan
from diffpref.trajectories.walk import walk
from diffpref.types import Nets
from diffpref.walk_objective import Walking

KINDS = ("steps", "steps and means", "walks", "images")
SLACK = 16_384
"""Bytes for lists of positions and numbers of steps."""


@pytest.fixture(scope="module")
def bundle(base: Path) -> Bundle:
    return load_bundle(str(base), dtype="fp32", device="cpu")


class Middle:
    """Judges latents by their mean."""

    space = "latent"
    noisy = False
    differentiable = True

    def __call__(self, x: Tensor, t: Tensor | None, prompts: tuple[str, ...], /) -> Tensor:
        del t, prompts
        return x.flatten(1).mean(dim=1)


def maker_of(kind: str, prompts: Prompts, steps: int) -> Maker:
    bundle = prompts.bundle
    about: dict[str, Any] = {
        "schedule": bundle.schedule,
        "plan": StepPlan(levels=visited_levels(bundle, steps), guidance=2.0),
        "reward": Middle(),
        "prompts": prompts,
    }
    if kind == "walks":
        return WalkMaker(walking=Walking(k=2, same_start=False, score="pair"), **about)
    if kind == "images":
        return CleanMaker(unit="pairs", k=4, **about)
    how = Branching(k=2, start=0.0, min_gap=0.0)
    return StepPairMaker(branching=how, clamped=kind == "steps and means", **about)


def prompts_of(bundle: Bundle, count: int) -> Prompts:
    return Prompts(texts=("a", "b"), bundle=bundle, seed=0, per_round=count, height=64, width=64)


def made(bundle: Bundle, folder: Path, *, kind: str, steps: int, prompts: int) -> tuple[int, int]:
    """Return the most bytes live while a round is made, and the bytes of its items."""
    asked = prompts_of(bundle, prompts)
    rollouts = Rollouts(
        prompts=asked,
        maker=maker_of(kind, asked, steps),
        rounds=Rounds(folder=folder, keep=9),
        sampler=make_denoiser(bundle.unet, bundle),
        seed=0,
        per_step=2,
        passes=1,
        at_once=2,
        tally=Tally(),
        cost=lambda items: items,
        gather=lambda tensor: tensor,
    )
    gc.collect()
    with Live() as live:
        next(rollouts(Nets(policy=rollouts.sampler, reference=None), 0))
    items = Rounds(folder=folder, keep=9).read(0).items
    return live.peak, sum(each.nbytes for each in items.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("steps", "prompts"), [(12, 2), (4, 12)])
def test_memory_grows_by_what_the_round_stores_and_by_nothing_else(
    bundle: Bundle, tmp_path: Path, kind: str, steps: int, prompts: int
) -> None:
    peak, stored = made(bundle, tmp_path / "small", kind=kind, steps=4, prompts=2)
    more, larger = made(bundle, tmp_path / "large", kind=kind, steps=steps, prompts=prompts)
    assert more - peak <= larger - stored + SLACK


def test_the_meter_sees_a_graph_that_is_kept(bundle: Bundle) -> None:
    """Sampling with gradients holds every step: were it so in a round, the test above would say."""
    peaks = [_peak_with_graph(bundle, steps) for steps in (2, 6)]
    assert peaks[1] > 2 * peaks[0]


def _peak_with_graph(bundle: Bundle, steps: int) -> int:
    prompts, positions = prompts_of(bundle, 2), torch.arange(2)
    plan = StepPlan(levels=visited_levels(bundle, steps))
    bundle.unet.requires_grad_(True)
    net = make_denoiser(bundle.unet, bundle)
    with Live() as live:
        batch = prompts.batch(positions)
        kept = list(walk(net, bundle.schedule, batch, Draws(0, positions), plan=plan))
    bundle.unet.requires_grad_(False)
    assert kept[-1][2].requires_grad
    return live.peak


@pytest.mark.parametrize("score", ["pair", "advantage"])
def test_steps_of_walks_are_made_again_bit_for_bit(bundle: Bundle, score: Any) -> None:
    prompts, positions = prompts_of(bundle, 3), torch.arange(3)
    maker = maker_of("walks", prompts, 4)
    assert isinstance(maker, WalkMaker)
    walking = Walking(k=3, same_start=False, score=score)
    maker = WalkMaker(
        walking=walking,
        schedule=maker.schedule,
        plan=maker.plan,
        reward=maker.reward,
        prompts=prompts,
    )
    net = make_denoiser(bundle.unet, bundle)
    batch, draws = prompts.batch(positions), Draws(0, positions)
    with torch.no_grad():
        items = maker.make(net, batch, draws)
        steps = list(walk(net, bundle.schedule, batch, draws, plan=maker.plan, k=3))
    assert "x_s" not in items
    window = maker.window(items, torch.arange(len(items["asked"])))
    sampled = {
        (int(t), row // 3, row % 3): x_s[row]
        for state, _, x_s in steps
        for row, t in enumerate(state.t)
    }
    asked = items["asked"][:, None].expand_as(items["image"]).flatten()
    assert len(window.x_s) == len(asked) > 0
    for x_s, t, place, image in zip(
        window.x_s, window.state.t, asked, items["image"].flatten(), strict=True
    ):
        assert torch.equal(x_s, sampled[int(t), int(place), int(image)])
