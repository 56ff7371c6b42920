"""Properties and gradients every pair loss must have, at any logit."""

from collections.abc import Callable
from functools import partial
from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffpref.losses import PairLoss, cross_entropy
from diffpref.parts import PARTS, parameters

POLICY = torch.tensor([[0.120, 0.135]], dtype=torch.float64) / -2
REFERENCE = torch.tensor([[0.121, 0.134]], dtype=torch.float64) / -2
WON = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
TIE = torch.tensor([[0.5, 0.5]], dtype=torch.float64)

PAIR_LOSSES: dict[str, Callable[..., PairLoss]] = {
    **{
        name: make
        for name, make in PARTS["loss"].items()
        if "beta" in parameters(make) and isinstance(make(beta=1.0), PairLoss)
    },
    "cdpo": partial(cross_entropy, epsilon=0.1),
}
every_pair_loss = pytest.mark.parametrize("name", PAIR_LOSSES)
logits = st.lists(st.floats(-1e4, 1e4), min_size=20, max_size=40)
"""25 examples of at least 20 logits each: 500 per loss."""


def _policy(u: list[float], dtype: torch.dtype = torch.float64) -> Tensor:
    """Return log-likelihoods whose logit at beta 1 without a reference is u."""
    return torch.stack([torch.tensor(u, dtype=dtype), torch.zeros(len(u), dtype=dtype)], dim=1)


def _at(loss: PairLoss, u: list[float] | float, label: Tensor = WON) -> Tensor:
    many = u if isinstance(u, list) else [u]
    return loss(_policy(many), None, label.expand(len(many), 2))


@every_pair_loss
@given(u=logits)
@settings(max_examples=25)
def test_swapping_the_images_with_their_labels_changes_nothing(name: str, u: list[float]) -> None:
    loss = PAIR_LOSSES[name](beta=1.0)
    swapped = loss(_policy(u).flip(1), None, WON.flip(1).expand(len(u), 2))
    assert torch.equal(_at(loss, u), swapped)


@every_pair_loss
@given(u=logits)
@settings(max_examples=25)
def test_losses_and_slopes_stay_finite_at_any_logit(name: str, u: list[float]) -> None:
    loss = PAIR_LOSSES[name](beta=1.0)
    for dtype in (torch.float32, torch.float64):
        policy = _policy([*u, -1e4, 1e4], dtype).requires_grad_()
        value = loss(policy, None, WON.to(dtype).expand(len(policy), 2))
        (slope,) = torch.autograd.grad(value.sum(), policy)
        assert bool(value.isfinite().all())
        assert bool(slope.isfinite().all())


@pytest.mark.parametrize(
    ("name", "factor"), [("logistic", 1.0), ("cross_entropy", 1.0), ("robust", 1 / 0.8)]
)
@given(u=logits)
@settings(max_examples=25)
def test_a_loss_minus_its_mirror_is_minus_the_logit(
    name: str, factor: float, u: list[float]
) -> None:
    """l(u) - l(-u) = -u; rDPO's correction divides by 1 - 2 epsilon."""
    loss = PAIR_LOSSES[name](beta=1.0)
    difference = _at(loss, u) - _at(loss, [-each for each in u])
    assert torch.allclose(difference, -factor * _policy(u)[:, 0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["logistic", "cross_entropy", "robust", "hinge"])
@given(u=logits, more=st.floats(1e-3, 10))
@settings(max_examples=25)
def test_a_larger_margin_never_costs_more(name: str, u: list[float], more: float) -> None:
    loss = PAIR_LOSSES[name](beta=1.0)
    assert bool((_at(loss, [each + more for each in u]) <= _at(loss, u)).all())
    assert float(_at(loss, more)) < float(_at(loss, 0.0))


@pytest.mark.parametrize(
    ("name", "optimum"),
    [("cdpo", log(0.9 / 0.1)), ("squared", 0.5), ("exo", log(0.99 / 0.01))],
)
def test_bounded_losses_have_their_finite_optimum(name: str, optimum: float) -> None:
    loss = PAIR_LOSSES[name](beta=1.0)
    best = float(_at(loss, optimum))
    assert best < float(_at(loss, optimum - 0.01))
    assert best < float(_at(loss, optimum + 0.01))


@pytest.mark.parametrize(
    ("name", "constant"),
    [
        ("logistic", log(2)),
        ("cross_entropy", log(2)),
        ("cdpo", log(2)),
        ("hinge", 1.0),
        ("squared", 0.25),
        ("robust", log(2)),
        ("exo", -log(2) - 0.5 * log(0.99 * 0.01)),
    ],
)
def test_every_loss_starts_at_its_known_constant(name: str, constant: float) -> None:
    loss = PAIR_LOSSES[name](beta=3.0)
    assert loss.at_start == pytest.approx(constant, abs=1e-14)
    assert float(loss(POLICY, POLICY, WON)) == pytest.approx(constant, abs=1e-14)


@every_pair_loss
@given(u=st.lists(st.floats(-50, 50), min_size=20, max_size=40))
@settings(max_examples=25)
def test_a_tie_pulls_neither_way(name: str, u: list[float]) -> None:
    """Scaled labels give a tie no gradient; weighing ones pull its logit to zero evenly."""
    loss = PAIR_LOSSES[name](beta=1.0)
    policy, tie = _policy(u).requires_grad_(), TIE.expand(len(u), 2)
    value = loss(policy, None, tie)
    (slope,) = torch.autograd.grad(value.sum(), policy)
    assert torch.allclose(value, loss(policy.flip(1), None, tie), atol=1e-12)
    if loss.learns_from_ties:
        assert torch.allclose(slope[:, 0], torch.sigmoid(policy[:, 0]) - 0.5, atol=1e-12)
    else:
        assert slope.abs().max().item() == 0
        assert torch.allclose(value, torch.full_like(value, loss.at_start))


def test_only_cross_entropy_learns_from_ties() -> None:
    learners = {name for name, make in PAIR_LOSSES.items() if make(beta=1.0).learns_from_ties}
    assert learners == {"cross_entropy", "cdpo"}


@every_pair_loss
@given(shift=st.floats(-1, 1))
@settings(max_examples=25)
def test_an_error_common_to_policy_and_reference_cancels(name: str, shift: float) -> None:
    loss = PAIR_LOSSES[name](beta=20.0)
    own = torch.tensor([[shift, 0.0]], dtype=torch.float64)
    before = loss(POLICY, REFERENCE, WON)
    assert torch.allclose(before, loss(POLICY + shift, REFERENCE, WON), atol=1e-12)
    assert torch.allclose(before, loss(POLICY + own, REFERENCE + own, WON), atol=1e-12)


@every_pair_loss
def test_dropping_the_reference_changes_the_loss(name: str) -> None:
    loss = PAIR_LOSSES[name](beta=20.0)
    assert not torch.equal(loss(POLICY, REFERENCE, WON), loss(POLICY, None, WON))


@every_pair_loss
def test_beta_multiplies_the_logit(name: str) -> None:
    make = PAIR_LOSSES[name]
    assert torch.allclose(
        make(beta=6.0)(POLICY, REFERENCE, WON),
        make(beta=3.0)(2 * POLICY, 2 * REFERENCE, WON),
        atol=1e-15,
    )


@every_pair_loss
def test_slopes_are_those_of_central_differences(
    name: str, count: Callable[[str, int], None]
) -> None:
    loss = PAIR_LOSSES[name](beta=1.0)
    rng = torch.Generator().manual_seed(0)
    for _ in range(50):
        policy = torch.randn(1, 2, generator=rng, dtype=torch.float64) * 2
        reference = torch.randn(1, 2, generator=rng, dtype=torch.float64)
        p = torch.rand(1, generator=rng, dtype=torch.float64)
        label = torch.stack([p, 1 - p], dim=1)
        leaf = policy.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(leaf, reference, label).sum(), leaf)
        for image in (0, 1):
            step = torch.zeros(1, 2, dtype=torch.float64)
            step[0, image] = 1e-5
            rise = loss(policy + step, reference, label) - loss(policy - step, reference, label)
            assert slope[0, image].item() == pytest.approx(rise.item() / 2e-5, rel=1e-6, abs=1e-8)
    count("gradient draws", 50)
