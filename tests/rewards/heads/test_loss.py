"""The loss of a pair and the temperature, written again with logarithms."""

import math

import pytest
import torch

from diffpref.rewards.heads.loss import pair_loss
from diffpref.rewards.heads.temperature import HIGHEST, LOWEST, best_scale


def naive(u: float, p: float, margin: float, eps: float) -> float:
    believed = (1 - eps) * p + eps * (1 - p)
    chance = 1 / (1 + math.exp(-(u - margin * (2 * p - 1))))
    return -believed * math.log(chance) - (1 - believed) * math.log(1 - chance)


@pytest.mark.parametrize(("margin", "eps"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.1), (0.4, 0.2)])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.8, 1.0])
def test_the_loss_is_its_formula(margin: float, eps: float, share: float) -> None:
    logit = torch.linspace(-3, 3, 7, dtype=torch.float64)
    found = pair_loss(logit, torch.full_like(logit, share), margin=margin, smoothing=eps)
    expected = [naive(u, share, margin, eps) for u in logit.tolist()]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12)


def test_exchanging_the_pictures_leaves_the_loss_alone() -> None:
    rng = torch.Generator().manual_seed(0)
    logit = torch.randn(50, generator=rng, dtype=torch.float64)
    share = torch.rand(50, generator=rng, dtype=torch.float64)
    one = pair_loss(logit, share, margin=0.5, smoothing=0.1)
    assert torch.allclose(one, pair_loss(-logit, 1 - share, margin=0.5, smoothing=0.1))


def test_a_tie_pulls_to_even_and_has_no_margin() -> None:
    logit = torch.linspace(-2, 2, 41, dtype=torch.float64)
    tie = torch.full_like(logit, 0.5)
    found = pair_loss(logit, tie, margin=3.0)
    assert int(found.argmin()) == 20
    assert torch.equal(found, pair_loss(logit, tie))


def test_a_margin_asks_for_more_and_smoothing_for_no_more_than_the_share_of_right_votes() -> None:
    sure = torch.ones(2001, dtype=torch.float64)
    logit = torch.linspace(-10, 10, 2001, dtype=torch.float64)
    assert bool((pair_loss(logit, sure, margin=1.0) > pair_loss(logit, sure)).all())
    best = float(logit[pair_loss(logit, sure, smoothing=0.1).argmin()])
    assert best == pytest.approx(math.log(0.9 / 0.1), abs=0.01)


def test_the_temperature_undoes_a_scale() -> None:
    rng = torch.Generator().manual_seed(1)
    logit = 2 * torch.randn(4000, generator=rng, dtype=torch.float64)
    share = (torch.rand(4000, generator=rng) < logit.sigmoid()).double()
    plain = best_scale(logit, share)
    assert plain == pytest.approx(1, abs=0.1)
    assert best_scale(logit / 3, share) == pytest.approx(3 * plain, rel=1e-6)

    def mean_loss(scale: float) -> float:
        return float(pair_loss(scale * logit, share).mean())

    assert mean_loss(plain) < min(mean_loss(0.99 * plain), mean_loss(1.01 * plain))


def test_the_temperature_has_bounds_when_votes_are_all_right_or_all_wrong() -> None:
    logit = torch.tensor([1.0, 2.0])
    assert best_scale(logit, torch.ones(2)) == pytest.approx(HIGHEST, rel=1e-3)
    assert best_scale(logit, torch.zeros(2)) == pytest.approx(LOWEST, rel=1e-3)
