"""What the log says of a window, against sums done by hand."""

import pytest
import torch

from diffpref.train.health import ACCURACY_DECAY, BINS, Health, finite


def alone(value: torch.Tensor) -> torch.Tensor:
    return value


def test_means_are_over_prompts_and_bins_over_their_own_prompts() -> None:
    health = Health(length=1000)
    health.add(
        {
            "t": torch.tensor([0.0, 99.0, 100.0, 999.0]),
            "margin": torch.tensor([1.0, 3.0, 5.0, 7.0]),
            "implicit_accuracy": torch.tensor([1.0, 0.5, 0.0, 1.0]),
        },
        alone,
    )
    health.add({"t": torch.tensor([50.0]), "margin": torch.tensor([2.0])}, alone)
    report = health.report()
    assert report["margin"] == pytest.approx(18 / 5)
    by_t = report["by_t"]
    assert isinstance(by_t, dict)
    assert by_t["margin"][0] == pytest.approx(2.0)
    assert by_t["margin"][1] == 5.0
    assert by_t["margin"][BINS - 1] == 7.0
    assert by_t["margin"][4] is None


def test_a_report_starts_over_and_the_running_accuracy_does_not() -> None:
    health = Health(length=10)
    health.add({"implicit_accuracy": torch.ones(4)}, alone)
    first = health.report()["implicit_accuracy_ema"]
    assert first == pytest.approx(ACCURACY_DECAY * 0.5 + (1 - ACCURACY_DECAY))
    health.add({"implicit_accuracy": torch.zeros(4)}, alone)
    second = health.report()
    assert second["implicit_accuracy"] == 0.0
    assert second["implicit_accuracy_ema"] == pytest.approx(ACCURACY_DECAY * float(str(first)))


def test_every_process_counts_everyones_prompts() -> None:
    health = Health(length=10)
    health.add({"margin": torch.tensor([1.0])}, lambda mine: torch.cat([mine, mine + 2]))
    assert health.report()["margin"] == 2.0


def test_what_json_cannot_say_becomes_null() -> None:
    assert finite({"a": float("nan"), "b": 1.0}) == {"a": None, "b": 1.0}
