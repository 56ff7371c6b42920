"""Bayesian Bradley-Terry against its definition, its symmetries, and a long way round."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffpref.users.posterior import Belief, Gaps, log_odds, posterior


def drawn(seed: int, n: int, p: int) -> tuple[Belief, Gaps]:
    rng = torch.Generator().manual_seed(seed)
    half = torch.randn(p, p, generator=rng, dtype=torch.float64)
    prior = Belief(
        mean=torch.randn(p, generator=rng, dtype=torch.float64),
        cov=half @ half.T / p + 0.1 * torch.eye(p, dtype=torch.float64),
    )
    gap = torch.randn(n, p, generator=rng, dtype=torch.float64)
    share = torch.randint(0, 3, (n,), generator=rng).double() / 2
    weight = torch.rand(n, generator=rng, dtype=torch.float64) + 0.2
    return prior, Gaps(gap=gap, share=share, weight=weight)


def objective(prior: Belief, votes: Gaps, w: Tensor) -> Tensor:
    """The negative log posterior, a vote at a time."""
    value = (w - prior.mean) @ torch.linalg.inv(prior.cov) @ (w - prior.mean) / 2
    for gap, share, weight in zip(votes.gap, votes.share, votes.weight, strict=True):
        u = w @ gap
        value = value - weight * (
            share * torch.nn.functional.logsigmoid(u)
            + (1 - share) * torch.nn.functional.logsigmoid(-u)
        )
    return value


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), p=st.integers(1, 8))
def test_the_mean_is_the_stationary_point_and_the_covariance_the_inverse_hessian(
    seed: int, n: int, p: int
) -> None:
    """Both sides of n = p, so both forms of the Newton system."""
    prior, votes = drawn(seed, n, p)
    found = posterior(prior, votes)
    w = found.mean.clone().requires_grad_()
    (slope,) = torch.autograd.grad(objective(prior, votes, w), w)
    assert float(slope.abs().max()) < 1e-7
    hessian = torch.autograd.functional.hessian(lambda at: objective(prior, votes, at), found.mean)
    assert torch.allclose(torch.linalg.inv(torch.as_tensor(hessian)), found.cov, atol=1e-8)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 10))
def test_opposite_verdicts_negate_the_mean_when_the_prior_mean_is_zero(seed: int, n: int) -> None:
    prior, votes = drawn(seed, n, 4)
    prior = Belief(mean=0 * prior.mean, cov=prior.cov)
    other = Gaps(gap=votes.gap, share=1 - votes.share, weight=votes.weight)
    one, two = posterior(prior, votes), posterior(prior, other)
    assert torch.allclose(one.mean, -two.mean, atol=1e-10)
    assert torch.allclose(one.cov, two.cov, atol=1e-10)


def test_no_votes_leave_the_prior() -> None:
    prior, _ = drawn(0, 1, 4)
    none = Gaps(gap=torch.zeros(0, 4), share=torch.zeros(0), weight=torch.zeros(0))
    found = posterior(prior, none)
    assert torch.allclose(found.mean, prior.mean, atol=1e-12)
    assert torch.allclose(found.cov, prior.cov, atol=1e-12)


def test_a_vote_of_weight_two_is_two_votes_and_of_weight_zero_is_none() -> None:
    prior, votes = drawn(1, 3, 4)
    index = [0, 0, 1]
    weight = torch.ones(3).double()
    twice = Gaps(gap=votes.gap[index], share=votes.share[index], weight=weight)
    heavy = Gaps(gap=votes.gap, share=votes.share, weight=torch.tensor([2.0, 1.0, 0.0]))
    assert torch.allclose(posterior(prior, twice).mean, posterior(prior, heavy).mean, atol=1e-10)


def test_a_tie_pulls_the_pair_towards_even_odds() -> None:
    prior, votes = drawn(2, 1, 4)
    tie = Gaps(gap=votes.gap, share=torch.tensor([0.5]), weight=torch.tensor([5.0]))
    before, after = (votes.gap @ each.mean for each in (prior, posterior(prior, tie)))
    assert float(after.abs()) < float(before.abs())
    assert float(after * before) > 0


def test_people_side_by_side_get_what_they_get_alone() -> None:
    prior, votes = drawn(3, 9, 4)
    batch = Gaps(
        gap=torch.stack([votes.gap, votes.gap.flip(0)]),
        share=torch.stack([votes.share, votes.share.flip(0)]),
        weight=torch.stack([votes.weight, 0 * votes.weight]),
    )
    both = posterior(prior, batch)
    assert torch.allclose(both.mean[0], posterior(prior, votes).mean, atol=1e-10)
    assert torch.allclose(both.mean[1], prior.mean, atol=1e-12)


def test_strong_separable_votes_converge_and_stay_finite() -> None:
    prior = Belief(mean=torch.zeros(2).double(), cov=1e4 * torch.eye(2).double())
    gap = torch.tensor([[10.0, 0.0], [0.0, 1e-3]]).repeat(50, 1)
    found = posterior(prior, Gaps(gap=gap, share=torch.ones(100), weight=torch.ones(100)))
    assert bool(torch.isfinite(found.cov).all())
    assert float(found.mean.min()) > 0


def test_the_probability_of_a_choice_is_the_mean_of_sigma_over_the_belief() -> None:
    belief = Belief(mean=torch.tensor([0.8]).double(), cov=torch.tensor([[1.5]]).double())
    draws = 0.8 + math.sqrt(1.5) * torch.randn(
        200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    found = log_odds(belief, torch.ones(1, 1)).sigmoid()
    assert float(found) == pytest.approx(float(draws.sigmoid().mean()), abs=0.005)
    plain = torch.tensor(0.8).sigmoid()
    assert 0.5 < float(found) < float(plain)
