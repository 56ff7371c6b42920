"""An ensemble of scorers weighted by votes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffpref.errors import DataError
from diffpref.rewards.heads.calibrate import calibrate, load_ensemble
from diffpref.rewards.heads.loss import pair_loss

TRUE = torch.tensor([3.0, 1.0, 0.0, -0.5], dtype=torch.float64)
NAMES = ("good", "fair", "noise", "backwards")


def votes(count: int = 4000) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    scores = torch.rand(2, count, 4, generator=rng, dtype=torch.float64)
    chance = ((scores[0] - scores[1]) @ TRUE).sigmoid()
    share = (torch.rand(count, generator=rng) < chance).double()
    units = torch.tensor([10.0, 0.01, 1.0, 1.0], dtype=torch.float64)
    return scores[0] * units + 7, scores[1] * units + 7, share


def test_weights_are_what_votes_say_in_log_odds_over_the_range_and_never_negative() -> None:
    first, second, share = votes()
    found = calibrate(NAMES, first, second, share)
    assert found.scorers == NAMES
    assert found.weights[0] == pytest.approx(3, abs=0.4)
    assert found.weights[1] == pytest.approx(1, abs=0.3)
    assert found.weights[2] < 0.3
    assert found.weights[3] == 0


def test_the_weights_are_the_best_that_are_not_negative() -> None:
    first, second, share = votes(300)
    found = calibrate(NAMES, first, second, share, ridge=0.5)
    best = torch.tensor(found.weights, dtype=torch.float64)

    def objective(weights: Tensor) -> float:
        low = torch.tensor(found.low, dtype=torch.float64)
        wide = torch.tensor(found.high, dtype=torch.float64) - low
        one, two = (((each - low) / wide).clamp(0, 1) for each in (first, second))
        return float(pair_loss((one - two) @ weights, share).sum() + 0.25 * weights.square().sum())

    rng = torch.Generator().manual_seed(1)
    for _ in range(50):
        other = (best + 0.05 * torch.randn(4, generator=rng, dtype=torch.float64)).clamp(min=0)
        assert objective(other) >= objective(best) - 1e-9


def test_the_reward_is_monotone_in_every_scorer_and_flat_outside_its_range() -> None:
    found = calibrate(NAMES, *votes())
    line = torch.linspace(-1, 2, 301, dtype=torch.float64)[:, None]
    low, high = torch.tensor(found.low), torch.tensor(found.high)
    steps = found.reward(low + line * (high - low)).diff()
    assert float(steps.min()) >= 0
    assert float(steps[:99].max()) == 0
    assert float(steps[-99:].max()) == 0
    assert float(steps.max()) > 0


def test_a_scorer_that_never_varies_counts_nothing() -> None:
    first, second, share = votes(200)
    first[:, 0] = second[:, 0] = 5.0
    found = calibrate(NAMES, first, second, share)
    assert found.weights[0] == 0
    assert bool(torch.isfinite(found.reward(first)).all())


def test_it_is_stored_as_plain_json(tmp_path: Path) -> None:
    found = calibrate(NAMES, *votes(200))
    found.save(tmp_path / "ensemble.json")
    assert load_ensemble(tmp_path / "ensemble.json") == found


@pytest.mark.parametrize("text", ["{}", "[]", '{"schema": "diffpref-ensemble/1"}', "nothing"])
def test_anything_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "ensemble.json").write_text(text)
    with pytest.raises(DataError, match="is no ensemble"):
        load_ensemble(tmp_path / "ensemble.json")


def test_scores_that_are_not_finite_are_refused() -> None:
    first, second, share = votes(20)
    first[3, 1] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        calibrate(NAMES, first, second, share)
    with pytest.raises(DataError, match="no votes"):
        calibrate(NAMES, first[:0], second[:0], share[:0])
