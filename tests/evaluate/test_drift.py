"""Drift is nothing for the base itself, and grows with what it is a measure of."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch

from diffpref.errors import DataError, UsageError
from diffpref.evaluate.drift import (
    Drifts,
    beyond,
    distance,
    diversity,
    drift_names,
    embedding,
    low_level,
    shift,
)
from diffpref.rewards import load_scorer


@pytest.fixture
def images() -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    flat = torch.rand(12, 3, 1, 1, generator=rng) * 0.6 + 0.2
    return (flat + 0.1 * torch.randn(12, 3, 17, 20, generator=rng)).clamp(0, 1)


def means(images: torch.Tensor) -> torch.Tensor:
    return images.mean(dim=(2, 3))


def test_a_model_that_is_the_base_has_no_drift_and_its_diversity(images: torch.Tensor) -> None:
    found = Drifts(world=True, features="means", embed=means)(images, images.clone())
    drifts = {name: value for name, value in found.items() if name.startswith("drift/")}
    assert set(drifts) == {"drift/low_level", "drift/untouched", "drift/means"}
    assert set(drifts.values()) == {0.0}
    for name in ("low_level", "means"):
        assert found[f"diversity/{name}"] == found[f"diversity_base/{name}"] > 0


@pytest.mark.parametrize(
    ("index", "change"),
    [
        ((0,), lambda x: torch.cat([x[:, :1] + 0.1, x[:, 1:]], dim=1)),
        ((3,), lambda x: x.mean(dim=(2, 3), keepdim=True) * 0.5 + x * 0.5),
        ((4, 5), lambda x: x.mean(dim=1, keepdim=True).expand_as(x)),
        ((6, 7), lambda x: x + 0.2 * (torch.arange(20) % 2 - 0.5)),
        ((8,), lambda x: torch.where(x > 0.5, 1.0, x)),
    ],
)
def test_each_low_level_statistic_sees_its_own_change(
    images: torch.Tensor, index: tuple[int, ...], change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    before, after = low_level(images), low_level(change(images))
    moved = ((after.mean(dim=0) - before.mean(dim=0)) / before.std(dim=0)).abs()
    assert all(float(moved[i]) > 0.3 for i in index), moved


def test_shift_is_the_mean_shift_in_standard_deviations_of_the_base() -> None:
    base = torch.tensor([[0.0, 10.0], [2.0, 14.0], [4.0, 18.0]])
    ours = base + torch.tensor([3.0, -2.0])
    assert shift(ours, base) == pytest.approx((3 / 2 + 2 / 4) / 2)


def test_the_distance_is_that_of_all_pairs() -> None:
    rng = torch.Generator().manual_seed(1)
    x, y = (torch.randn(n, 4, generator=rng, dtype=torch.float64) for n in (5, 7))

    def mean(a: torch.Tensor, b: torch.Tensor) -> float:
        return sum(math.dist(i.tolist(), j.tolist()) for i, j in product(a, b)) / len(a) / len(b)

    between = 2 * mean(x, y)
    assert distance(x, y) == pytest.approx((between - mean(x, x) - mean(y, y)) / between)
    assert distance(x, x + 1e6) == pytest.approx(1, abs=1e-4)


def test_the_distance_and_the_diversity_see_a_collapse_that_moves_no_mean(
    images: torch.Tensor,
) -> None:
    numbers = means(images)
    collapsed = numbers.mean(dim=0) + 0.1 * (numbers - numbers.mean(dim=0))
    assert shift(collapsed, numbers) < 1e-5
    assert distance(collapsed, numbers) > 0.1
    assert diversity(collapsed) == pytest.approx(0.1 * diversity(numbers), rel=1e-4)


def test_a_drift_beyond_its_limit_is_told_and_so_is_one_that_is_no_number() -> None:
    found = {"drift/low_level": 0.5, "drift/untouched": math.nan}
    assert beyond(found, {}) is None
    assert beyond(found, {"low_level": 0.5}) is None
    assert "0.5, beyond evaluate.max_drift of 0.4" in str(beyond(found, {"low_level": 0.4}))
    assert "nan" in str(beyond(found, {"low_level": 1.0, "untouched": 1.0}))
    with pytest.raises(DataError, match="one image has no drift"):
        beyond(Drifts()(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)), {"low_level": 1.0})


def test_only_scorers_that_see_pictures_alone_have_features(images: torch.Tensor) -> None:
    rows = embedding(load_scorer("world-reward"))(images[:2])
    assert rows.shape[0] == 2
    with pytest.raises(UsageError, match="no image embeddings"):
        embedding(load_scorer("brightness"))


def test_the_untouched_statistics_are_the_bundled_worlds() -> None:
    assert drift_names("builtin:base", None) == ["low_level", "untouched"]
    assert drift_names("some/folder", "clipscore") == ["low_level", "clipscore"]
