"""EM recovers how tastes are spread, and the estimator reaches what the design page promises."""

import pytest
import torch
from torch import Tensor

from diffpref.users.learn import Spread, factored, learn_spread
from diffpref.users.posterior import Belief, Gaps, posterior

REAL, EXTRA = 6, 58


def ideal_votes(taste: Tensor, count: int, rng: torch.Generator) -> Gaps:
    """Sharp votes on ideal features of which only the first REAL matter."""
    gap = torch.randn(count, REAL + EXTRA, generator=rng, dtype=torch.float64)
    share = (gap[:, :REAL] @ taste > 0).double()
    return Gaps(gap=gap, share=share, weight=torch.ones(count))


@pytest.fixture(scope="module")
def ideal() -> tuple[Spread, Tensor, torch.Generator]:
    """300 people of 40 votes each, as section G.3 of the design page, and 150 new people."""
    rng = torch.Generator().manual_seed(0)
    tastes = torch.randn(450, REAL, generator=rng, dtype=torch.float64)
    people = [ideal_votes(taste, 40, rng) for taste in tastes[:300]]
    start = torch.zeros(REAL + EXTRA, dtype=torch.float64)
    return learn_spread(people, rank=6, start=start, rounds=12), tastes[300:], rng


@pytest.mark.parametrize(("shots", "flat", "learned"), [(4, 0.563, 0.692), (16, 0.623, 0.823)])
def test_the_estimator_reaches_the_table_of_the_design_page(
    shots: int, flat: float, learned: float, ideal: tuple[Spread, Tensor, torch.Generator]
) -> None:
    """With a flat prior the numbers are the page's; the learned one may be a little better."""
    spread, tastes, rng = ideal
    eye = torch.eye(REAL + EXTRA, dtype=torch.float64)
    beliefs = (Belief(mean=0 * eye[0], cov=eye), spread.belief())
    right: list[list[Tensor]] = [[], []]
    for taste in tastes:
        votes = ideal_votes(taste, shots, rng)
        asked = ideal_votes(taste, 200, rng)
        for found, belief in zip(right, beliefs, strict=True):
            mean = posterior(belief, votes).mean
            found.append(((asked.gap @ mean > 0) == (asked.share > 0.5)).double().mean())
    accuracies = [float(torch.stack(each).mean()) for each in right]
    assert accuracies[0] == pytest.approx(flat, abs=0.02)
    assert learned - 0.02 < accuracies[1] < learned + 0.05


def test_the_learned_directions_are_the_true_ones(
    ideal: tuple[Spread, Tensor, torch.Generator],
) -> None:
    inside = ideal[0].basis[:REAL].square().sum(dim=0)
    assert float(inside.min()) > 0.9


def test_a_low_rank_moment_is_factored_exactly() -> None:
    rng = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(8, 8, generator=rng, dtype=torch.float64))[0][:, :2]
    strength = torch.tensor([3.0, 1.0], dtype=torch.float64)
    second = (basis * strength) @ basis.T + 0.25 * torch.eye(8, dtype=torch.float64)
    found = factored(torch.zeros(8).double(), second, 2)
    assert found.floor == pytest.approx(0.5)
    assert torch.allclose(found.strength, strength)
    assert torch.allclose(found.belief().cov, second)


def test_people_of_one_taste_have_almost_no_spread_and_that_mean() -> None:
    rng = torch.Generator().manual_seed(2)
    taste = torch.tensor([1.5, -1.0, 0.0], dtype=torch.float64)
    people = []
    for _ in range(150):
        gap = torch.randn(40, 3, generator=rng, dtype=torch.float64)
        share = (torch.rand(40, generator=rng).double() < (gap @ taste).sigmoid()).double()
        people.append(Gaps(gap=gap, share=share, weight=torch.ones(40)))
    found = learn_spread(people, rank=1, start=0 * taste, rounds=60)
    assert torch.allclose(found.mean, taste, atol=0.15)
    assert float(found.strength[0]) < 0.1
    assert found.floor < 0.2
