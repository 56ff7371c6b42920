"""Accuracy by person or prompt, and the reliability curve, against numbers worked out by hand."""

import math

import pytest
import torch

from diffpref.errors import DataError
from diffpref.evaluate.judged import hits, judged, reliability


def test_ties_and_undecided_predictions_count_one_half() -> None:
    logit = torch.tensor([2.0, -1.0, 0.0, 3.0, -2.0])
    share = torch.tensor([1.0, 1.0, 1.0, 0.5, 0.3])
    assert hits(logit, share).tolist() == pytest.approx([1, 0, 0.5, 0.5, 0.7])


def test_every_person_counts_the_same_however_many_pairs_they_have() -> None:
    logit = torch.tensor([1.0, 1.0, 1.0, 1.0])
    found = judged(logit, torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([4, 4, 4, 9]))
    assert found.accuracy == 0.5
    assert (found.n, found.units, found.low, found.high) == (4, 2, 0.0, 1.0)


def test_intervals_resample_units_not_pairs() -> None:
    rng = torch.Generator().manual_seed(0)
    per_unit = torch.rand(30, generator=rng)
    share = (torch.rand(30, 50, generator=rng) < per_unit[:, None]).float().flatten()
    unit = torch.arange(30).repeat_interleave(50)
    found = judged(torch.ones(1500), share, unit)
    spread = share.view(30, 50).mean(dim=1).std(correction=0) / 30**0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * float(spread), rel=0.1)
    alone = judged(torch.ones(1500), share, torch.arange(1500))
    assert found.high - found.low > 2 * (alone.high - alone.low)


def test_probabilities_in_place_of_votes_give_the_expected_accuracy() -> None:
    rng = torch.Generator().manual_seed(1)
    exact, logit = torch.randn(2, 400, generator=rng)
    unit = torch.arange(400) % 20
    expected = judged(logit, exact.sigmoid(), unit).accuracy
    drawn = [
        judged(logit, (torch.rand(400, generator=rng) < exact.sigmoid()).float(), unit).accuracy
        for _ in range(60)
    ]
    assert sum(drawn) / 60 == pytest.approx(expected, abs=0.012)


def test_no_pairs_and_predictions_that_are_no_numbers_are_errors() -> None:
    none = torch.zeros(0)
    with pytest.raises(DataError, match="no test pairs"):
        judged(none, none, torch.zeros(0, dtype=torch.long))
    with pytest.raises(DataError, match="not a number"):
        judged(torch.tensor([torch.nan]), torch.ones(1), torch.zeros(1, dtype=torch.long))


def test_the_curve_and_its_error_are_those_of_bins_of_equally_many() -> None:
    logit = torch.tensor([0.1, -0.2, 3.0, -4.0])
    share = torch.tensor([1.0, 1.0, 1.0, 0.0])
    found = reliability(logit, share, bins=2)
    sure = [1 / (1 + math.exp(-each)) for each in (0.1, 0.2, 3.0, 4.0)]
    low, high = (sure[0] + sure[1]) / 2, (sure[2] + sure[3]) / 2
    assert [each.n for each in found.bins] == [2, 2]
    assert [each.right for each in found.bins] == [0.5, 1.0]
    assert [each.confidence for each in found.bins] == pytest.approx([low, high])
    assert found.ece == pytest.approx((abs(0.5 - low) + abs(1 - high)) / 2)
    losses = [-math.log(sure[0]), -math.log(1 - sure[1]), -math.log(sure[2]), -math.log(sure[3])]
    assert found.loss == pytest.approx(sum(losses) / 4)


def test_honest_probabilities_have_no_calibration_error_and_exaggerated_ones_do() -> None:
    rng = torch.Generator().manual_seed(2)
    logit = 2 * torch.randn(20000, generator=rng)
    share = (torch.rand(20000, generator=rng) < logit.sigmoid()).float()
    assert reliability(logit, share).ece < 0.015
    assert reliability(3 * logit, share).ece > 0.08
    assert reliability(-logit, 1 - share).ece == pytest.approx(reliability(logit, share).ece)
