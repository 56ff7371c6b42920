"""Win rates against numbers worked out by hand and by enumeration."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from diffpref.errors import DataError
from diffpref.evaluate.bootstrap import bootstrap_means
from diffpref.evaluate.winrate import (
    outcomes,
    permutation_test,
    sign_test,
    win_rate,
)


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def test_ties_count_one_half() -> None:
    found = win_rate(column(1, 2, 3, 4), column(0, 2, 5, 3))
    assert (found.win, found.tie, found.loss) == (0.5, 0.25, 0.25)
    assert found.rate == 0.625
    assert (found.n, found.seeds) == (4, 1)


def test_differences_below_the_tie_threshold_are_ties() -> None:
    assert outcomes(column(1.0), column(1.0 + 5e-7)).item() == 0.5
    assert outcomes(column(0.0), column(0.01), tie=0.1).item() == 0.5
    assert outcomes(column(0.0), column(0.01)).item() == 0.0


def test_swapping_the_models_mirrors_everything() -> None:
    a = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    b = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))
    there, back = win_rate(a, b), win_rate(b, a)
    assert there.rate == pytest.approx(1 - back.rate, abs=1e-12)
    assert there.low == pytest.approx(1 - back.high, abs=1e-12)
    assert there.difference_low == pytest.approx(-back.difference_high, abs=1e-12)
    assert (there.sign_p, there.permutation_p) == (back.sign_p, back.permutation_p)


def test_seeds_are_averaged_within_the_prompt_before_the_bootstrap() -> None:
    """Five copies of each image say nothing new: interval and tests stay what they were."""
    rng = torch.Generator().manual_seed(3)
    a, b = torch.randn(30, 1, generator=rng), torch.randn(30, 1, generator=rng)
    once, often = win_rate(a, b), win_rate(a.repeat(1, 5), b.repeat(1, 5))
    assert (once.low, once.high) == pytest.approx((often.low, often.high), abs=1e-12)
    assert once.sign_p == often.sign_p
    assert often.seeds == 5


def test_the_interval_is_the_percentiles_of_the_exact_bootstrap_distribution() -> None:
    """With 8 wins of 10 a resampled rate is Binomial(10, 0.8) / 10, whose quantiles are known."""
    found = win_rate(column(*[1.0] * 8, *[0.0] * 2), column(*[0.5] * 10))
    cumulative = list(
        itertools.accumulate(math.comb(10, k) * 0.8**k * 0.2 ** (10 - k) for k in range(11))
    )
    low = next(k for k in range(11) if cumulative[k] >= 0.025) / 10
    high = next(k for k in range(11) if cumulative[k] >= 0.975) / 10
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_interval_of_a_large_sample_is_the_normal_one() -> None:
    values = torch.randn(2000, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (interval,) = bootstrap_means(values[None])
    half = 1.96 * float(values.std()) / 2000**0.5
    assert interval.low == pytest.approx(float(values.mean()) - half, abs=0.1 * half)
    assert interval.high == pytest.approx(float(values.mean()) + half, abs=0.1 * half)


def test_the_same_seed_gives_the_same_interval_and_another_a_close_one() -> None:
    a = torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    b = torch.zeros(50, 1)
    assert win_rate(a, b) == win_rate(a, b)
    other = win_rate(a, b, seed=1)
    assert other.low == pytest.approx(win_rate(a, b).low, abs=0.03)
    assert other.difference_low != win_rate(a, b).difference_low


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (8, 2, 112 / 1024), (5, 5, 1.0), (2, 8, 112 / 1024)],
)
def test_the_sign_test_is_the_exact_binomial_one(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p)


def test_the_sign_test_of_a_thousand_prompts_agrees_with_the_normal_tail() -> None:
    z = (560 - 0.5 - 500) / 250**0.5
    assert sign_test(560, 440) == pytest.approx(math.erfc(z / 2**0.5), rel=0.03)


def test_the_permutation_test_visits_every_sign_pattern_of_a_small_sample() -> None:
    values = torch.tensor([0.3, -0.1, 0.7, 0.2, 0.4], dtype=torch.float64)
    patterns = [
        abs(sum(sign * value for sign, value in zip(signs, values.tolist(), strict=True)))
        for signs in itertools.product((1, -1), repeat=5)
    ]
    expected = sum(value >= 1.5 - 1e-9 for value in patterns) / 32
    assert permutation_test(values) == expected == 4 / 32


def test_the_permutation_test_of_a_large_sample_agrees_with_the_normal_tail() -> None:
    rng = torch.Generator().manual_seed(2)
    values = 0.1 + torch.randn(400, generator=rng, dtype=torch.float64)
    z = abs(float(values.mean())) / (float(values.square().mean()) / 400) ** 0.5
    assert permutation_test(values) == pytest.approx(math.erfc(z / 2**0.5), abs=0.012)


def test_no_difference_at_all_is_no_evidence() -> None:
    found = win_rate(torch.ones(20, 1), torch.ones(20, 1))
    assert (found.rate, found.low, found.high) == (0.5, 0.5, 0.5)
    assert (found.sign_p, found.permutation_p) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.ones(2, 1), torch.ones(3, 1), r"\(2, 1\) and \(3, 1\)"),
        (torch.ones(0, 1), torch.ones(0, 1), r"\(0, 1\)"),
        (torch.tensor([[1.0], [torch.nan]]), torch.ones(2, 1), "1 scores of A are not finite"),
        (torch.ones(2, 1), torch.full((2, 1), torch.inf), "2 scores of B are not finite"),
    ],
)
def test_unusable_scores_are_refused(a: Tensor, b: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        win_rate(a, b)
