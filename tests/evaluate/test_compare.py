"""Two models on the same prompts and seeds: every number is kept and belongs where it stands."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import StringIO

import pytest
import torch

from diffpref.evaluate import compare
from diffpref.evaluate.compare import Comparison, evaluate_pair
from diffpref.evaluate.winrate import win_rate
from diffpref.rewards import LoadedScorer
from tests.evaluate.conftest import flat

Make = Callable[..., Comparison]
PROMPTS = [f"prompt {i}" for i in range(7)]


def test_scores_stand_at_their_prompt_and_seed(compared: Make) -> None:
    found = compared(PROMPTS, seeds=(3, 5))
    a, b = found.scores["bright"]
    expected = torch.tensor([[0.03, 0.05]]).expand(7, 2) + 0.5
    assert torch.allclose(b.float(), expected, atol=1e-6)
    assert torch.allclose(
        (a - b)[:, 0], 0.1 * torch.tensor([0.0, 0, 1, -1, 1, 0, 0]).double(), atol=1e-6
    )
    rate = found.rates["bright"]
    assert (rate.win, rate.tie, rate.loss) == pytest.approx((2 / 7, 4 / 7, 1 / 7))
    assert rate == win_rate(a, b)
    assert found.means("bright") == pytest.approx((float(a.mean()), float(b.mean())))


def test_chunks_do_not_change_anything(compared: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compared(PROMPTS, shown=5)
    monkeypatch.setattr(compare, "CHUNK", 2)
    split = compared(PROMPTS, shown=5)
    assert torch.equal(whole.scores["bright"][0], split.scores["bright"][0])
    assert torch.equal(whole.images, split.images)


def test_images_of_the_first_prompts_are_kept_as_bytes(compared: Make) -> None:
    found = compared(PROMPTS, shown=3)
    assert (found.images.shape, found.images.dtype) == ((2, 3, 1, 3, 32, 32), torch.uint8)
    assert found.images[:, 2, 0, 0, 0, 0].tolist() == [153, 128]
    assert compared(PROMPTS, shown=0).images.shape[1] == 0


def test_both_models_get_the_same_prompts_seeds_and_positions(scorer: LoadedScorer) -> None:
    found = evaluate_pair(
        flat("x", lambda p, s: 0.01 * p + 0.001 * s),
        flat("x", lambda p, s: 0.01 * p + 0.001 * s),
        PROMPTS,
        seeds=(1, 2),
        scorers=[scorer],
    )
    assert found.rates["bright"].tie == 1.0
    assert (found.a, found.b) == ("x (A)", "x (B)")
    assert set(found.facts) == {"x (A)", "x (B)"}


def test_the_csv_has_one_line_per_image_pair_and_reads_back(compared: Make) -> None:
    prompts: Sequence[str] = ['with, comma and "quotes"', "two\nlines", "=1+1"]
    found = compared(prompts, seeds=(0, 1))
    rows = list(csv.DictReader(StringIO(found.csv())))
    assert [(row["number"], row["seed"]) for row in rows] == [
        (str(p), str(s)) for p in range(3) for s in (0, 1)
    ]
    assert [row["prompt"] for row in rows[::2]] == prompts
    outcomes = [float(row["outcome"]) for row in rows]
    assert sum(outcomes) / len(outcomes) == pytest.approx(found.rates["bright"].rate)
    gaps = [float(row["score_a"]) - float(row["score_b"]) for row in rows]
    assert sum(gaps) / len(gaps) == pytest.approx(found.rates["bright"].difference)


def test_progress_counts_the_images_of_both_models(scorer: LoadedScorer) -> None:
    seen: list[tuple[int, int | None]] = []
    same = flat("x", lambda p, s: 0.1)  # noqa: ARG005
    evaluate_pair(
        same,
        same,
        PROMPTS,
        scorers=[scorer],
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(0, 14), (7, 14), (14, 14)]


def test_a_judge_whose_labels_a_model_was_trained_on_is_named(compared: Make) -> None:
    found = compared(PROMPTS)
    assert (found.warnings(), found.plain()["warnings"]) == ([], [])
    facts = {**found.facts, found.a: {"labels_by": "other, bright"}}
    (warning,) = replace(found, facts=facts).warnings()
    assert warning.startswith(f"{found.a} was trained on labels by bright")
