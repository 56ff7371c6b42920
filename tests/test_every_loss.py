"""Properties and gradients of every loss a configuration can name, pairs or not."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffpref.losses import PairLoss
from diffpref.losses.linear import LinearLoss
from diffpref.losses.score_matching import ScoreLoss
from diffpref.losses.unpaired import KtoLoss
from diffpref.parts import PARTS, parameters

EXAMPLES = int(os.environ.get("DIFFPREF_EXAMPLES", "30"))
"""Of every property and loss; scripts/reliability.sh asks for 300."""
Count = Callable[[str, int], None]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How many images a prompt has, and what their labels are."""

    k: int
    labels: Callable[[int, torch.Generator], Tensor]


def _won(rows: int, rng: torch.Generator) -> Tensor:
    first = torch.randint(2, (rows,), generator=rng).double()
    return torch.stack([first, 1 - first], dim=1)


def _ranked(rows: int, rng: torch.Generator) -> Tensor:
    return torch.rand(rows, 4, generator=rng, dtype=torch.float64).argsort(dim=1).double() / 3


def _liked(rows: int, rng: torch.Generator) -> Tensor:
    return torch.randint(2, (rows, 1), generator=rng).double()


SHAPES = {
    "pairs": Shape(k=2, labels=_won),
    "images": Shape(k=2, labels=_won),
    "lists": Shape(k=4, labels=_ranked),
    "unpaired": Shape(k=1, labels=_liked),
}
LOSSES: dict[str, Any] = {
    name: make(**({"beta": 1.0} if "beta" in parameters(make) else {}))
    for name, make in PARTS["loss"].items()
}
"""Every loss; the strength is 1, so that the inputs are the logits."""
ON_MEASURES = [name for name, loss in LOSSES.items() if not isinstance(loss, ScoreLoss)]
every_loss = pytest.mark.parametrize("name", ON_MEASURES)
rows = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e4])


def drawn(name: str, n: int, seed: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return (policy, reference, label) of n prompts; log-likelihoods are at most 0."""
    rng = torch.Generator().manual_seed(seed)
    shape = SHAPES[LOSSES[name].unit]
    one, other = (
        -scale * torch.rand(n, shape.k, generator=rng, dtype=torch.float64) for _ in range(2)
    )
    return one, other, shape.labels(n, rng)


def alone(name: str, policy: Tensor, reference: Tensor, label: Tensor) -> Tensor:
    """Return the losses of prompts that do not see each other."""
    loss = LOSSES[name]
    parts = zip(policy.split(1), reference.split(1), label.split(1), strict=True)
    return torch.cat([loss(*each) for each in parts])


@every_loss
def test_losses_and_slopes_are_finite_at_any_scale(name: str, count: Count) -> None:
    @given(n=rows, seed=seeds, scale=scales)
    @settings(max_examples=EXAMPLES)
    def check(n: int, seed: int, scale: float) -> None:
        for dtype in (torch.float32, torch.float64):
            policy, reference, label = (x.to(dtype) for x in drawn(name, n, seed, scale))
            leaf = policy.requires_grad_()
            value = LOSSES[name](leaf, reference, label)
            (slope,) = torch.autograd.grad(value.sum(), leaf)
            assert value.shape == (n,)
            assert bool(value.isfinite().all())
            assert bool(slope.isfinite().all())
        ran.append(seed)

    ran: list[int] = []
    check()
    count("examples of a property", len(ran))


@every_loss
def test_the_order_of_images_and_of_prompts_does_not_matter(name: str, count: Count) -> None:
    @given(n=rows, seed=seeds, scale=scales)
    @settings(max_examples=EXAMPLES)
    def check(n: int, seed: int, scale: float) -> None:
        policy, reference, label = drawn(name, n, seed, scale)
        value = LOSSES[name](policy, reference, label)
        images = torch.randperm(policy.shape[1], generator=torch.Generator().manual_seed(seed))
        turned = LOSSES[name](policy[:, images], reference[:, images], label[:, images])
        assert torch.allclose(value, turned, rtol=1e-11, atol=1e-11)
        prompts = torch.arange(n).flip(0)
        other = LOSSES[name](policy[prompts], reference[prompts], label[prompts])
        assert torch.allclose(value[prompts], other, rtol=1e-11, atol=1e-11)
        ran.append(seed)

    ran: list[int] = []
    check()
    count("examples of a property", len(ran))


@every_loss
def test_a_prompt_does_not_see_the_others_unless_the_loss_says_so(name: str, count: Count) -> None:
    @given(n=rows, seed=seeds, scale=scales)
    @settings(max_examples=EXAMPLES)
    def check(n: int, seed: int, scale: float) -> None:
        given_ = drawn(name, n, seed, scale)
        same = torch.allclose(LOSSES[name](*given_), alone(name, *given_), rtol=1e-11, atol=1e-11)
        assert same or getattr(LOSSES[name], "couples_batch", False)
        ran.append(seed)

    ran: list[int] = []
    check()
    count("examples of a property", len(ran))


@every_loss
def test_learning_the_preferred_image_better_never_costs_more(name: str, count: Count) -> None:
    """The slope in the most preferred image's likelihood is never above 0."""

    @given(n=rows, seed=seeds, scale=st.sampled_from([1e-3, 0.1, 1.0]))
    @settings(max_examples=EXAMPLES)
    def check(n: int, seed: int, scale: float) -> None:
        loss = LOSSES[name]
        policy, reference, label = drawn(name, n, seed, scale)
        leaf = policy.requires_grad_()
        (slope,) = torch.autograd.grad(loss(leaf, reference, label).sum(), leaf)
        best = label == label.amax(dim=1, keepdim=True)
        if isinstance(loss, KtoLoss):
            best = label > 0
        elif name == "squared":
            u = (label[:, 0] - label[:, 1]) * (
                (policy - reference)[:, 0] - (policy - reference)[:, 1]
            )
            best &= (u < 0.5)[:, None]  # beyond its optimum it pulls back
        elif name == "exo":
            best &= torch.tensor(scale < log(99))
        assert bool((slope[best] <= 1e-12).all())
        ran.append(seed)

    ran: list[int] = []
    check()
    count("examples of a property", len(ran))


@every_loss
def test_an_error_common_to_policy_and_reference_cancels(name: str, count: Count) -> None:
    @given(n=rows, seed=seeds, scale=scales, shift=st.floats(-1, 1))
    @settings(max_examples=EXAMPLES)
    def check(n: int, seed: int, scale: float, shift: float) -> None:
        loss = LOSSES[name]
        policy, reference, label = drawn(name, n, seed, scale)
        before = loss(policy, reference, label)
        moved = loss(policy + shift * scale, reference + shift * scale, label)
        if free(name):
            assert torch.equal(before, loss(policy, reference + shift, label)), (
                "it reads no reference"
            )
        else:
            assert torch.allclose(before, moved, rtol=1e-9, atol=1e-9 * max(1.0, scale))
        ran.append(seed)

    ran: list[int] = []
    check()
    count("examples of a property", len(ran))


def free(name: str) -> bool:
    """Say whether a loss reads no reference."""
    policy, reference, label = drawn(name, 4, 0, 1.0)
    return torch.equal(LOSSES[name](policy, reference, label), LOSSES[name](policy, None, label))


def test_the_losses_without_a_reference_are_these() -> None:
    assert {name for name in ON_MEASURES if free(name)} == {
        "likelihood",
        "margin_aware",
        "odds_ratio",
    }


@every_loss
def test_the_slope_is_that_of_central_differences(name: str, count: Count) -> None:
    """Fifty draws; what a loss holds fixed (a weight, a baseline) is held fixed here too."""
    draws = 0
    for seed in range(50):
        policy, reference, label = drawn(name, 2, seed, 1.0)
        leaf = policy.clone().requires_grad_()
        (slope,) = torch.autograd.grad(LOSSES[name](leaf, reference, label).sum(), leaf)
        held = holding(name, policy, reference, label)
        for at in range(policy.numel()):
            step = torch.zeros_like(policy)
            step.view(-1)[at] = 1e-6
            rise = float((held(policy + step) - held(policy - step)).sum())
            assert slope.view(-1)[at].item() == pytest.approx(rise / 2e-6, rel=1e-6, abs=1e-8)
        draws += 1
    count("gradient draws", draws)


def holding(
    name: str, policy: Tensor, reference: Tensor, label: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return the loss as a function of the policy alone, with its constants as they are now."""
    loss = LOSSES[name]
    if isinstance(loss, LinearLoss):
        toward = torch.where(label[:, 0] >= label[:, 1], 1.0, -1.0).double()
        r = policy - reference
        weight = (0.2 * loss.beta * -2 * toward * (r[:, 0] - r[:, 1]) + 0.5).clamp(
            loss.floor, 1 - loss.floor
        )
        return lambda x: weight * -2 * toward * (x[:, 0] - x[:, 1])
    if isinstance(loss, KtoLoss):
        zero = (policy - reference)[:, 0].mean().clamp(min=0)
        side = torch.where(label[:, 0] > 0, 1.0, -1.0).double()
        return lambda x: torch.sigmoid(-side * loss.beta * ((x - reference)[:, 0] - zero))
    return lambda x: loss(x, reference, label)


def test_score_matching_has_the_slope_of_central_differences_and_is_finite(count: Count) -> None:
    """It reads residuals: two images of 3 numbers; both branches."""
    draws = 0
    for seed in range(100):
        rng = torch.Generator().manual_seed(seed)
        branch = ("score", "switch")[seed % 2]
        loss = PARTS["loss"]["score_matching"](beta=2.0, branch=branch)
        policy, reference = torch.randn(2, 2, 2, 3, generator=rng, dtype=torch.float64)
        label = _won(2, rng)
        leaf = policy.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss.on_residuals(leaf, reference, label).sum(), leaf)
        for at in range(policy.numel()):
            step = torch.zeros_like(policy)
            step.view(-1)[at] = 1e-6
            rise = (
                loss.on_residuals(policy + step, reference, label)
                - loss.on_residuals(policy - step, reference, label)
            ).sum()
            assert slope.view(-1)[at].item() == pytest.approx(
                rise.item() / 2e-6, rel=1e-6, abs=1e-7
            )
        far = loss.on_residuals(1e4 * policy, 1e4 * reference, label)
        assert bool(far.isfinite().all())
        draws += 1
    count("gradient draws", draws)


def test_every_loss_of_the_table_is_here(count: Count) -> None:
    assert set(ON_MEASURES) | {"score_matching"} == set(PARTS["loss"])
    assert sum(isinstance(loss, PairLoss) for loss in LOSSES.values()) >= 8
    count("losses", len(LOSSES))
