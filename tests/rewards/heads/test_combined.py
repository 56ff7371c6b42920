"""An ensemble that was weighed by votes, loaded by name as a scorer."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffpref.cli import main
from diffpref.errors import DataError, UsageError
from diffpref.rewards import load_scorer
from diffpref.rewards.heads.calibrate import ENSEMBLE, Ensemble
from diffpref.rewards.heads.combined import Range
from diffpref.rewards.heads.embeddings import fingerprint
from tests.rewards.conftest import PROMPTS

NAMES = ("world-reward", "world-fidelity", "brightness")


def written(folder: Path, **told: Any) -> Ensemble:
    """Write an ensemble whose ranges cut some scores off; one scorer never varied."""
    prints = tuple(fingerprint(load_scorer(name).info) for name in NAMES)
    ensemble = Ensemble(
        scorers=NAMES,
        weights=(1.5, 2.0, 0.25),
        low=(8.0, 0.0, 0.3),
        high=(13.0, 0.5, 0.3),
        fingerprints=prints,
    )
    folder.mkdir(parents=True, exist_ok=True)
    replace(ensemble, **told).save(folder / ENSEMBLE)
    return ensemble


def test_scores_are_the_ensembles_rewards_of_its_members_scores(
    pictures: Tensor, tmp_path: Path
) -> None:
    ensemble = written(tmp_path)
    scorer = load_scorer(f"head:{tmp_path}")
    alone = [load_scorer(name).score(pictures, PROMPTS).values for name in NAMES]
    expected = ensemble.reward(torch.stack(alone, dim=1))
    for size in (1, 3):
        found = scorer.score(pictures, PROMPTS, batch_size=size).values
        assert torch.allclose(found.double(), expected, atol=1e-5)
    assert float(expected.std()) > 0.01
    shown = pictures[:2]
    odds = scorer.score(shown, PROMPTS[0]).values
    chance = scorer.compare(PROMPTS[0], shown)[0]
    assert float(chance.logit()) == pytest.approx(float(odds[0] - odds[1]), abs=1e-4)
    assert (scorer.info.id, scorer.info.differentiable) == ("head", False)
    assert scorer.info.weights[0].file == ENSEMBLE
    assert scorer.to("cpu").info == scorer.info


def test_the_gradient_is_the_members_weighted_over_their_ranges(
    pictures: Tensor, tmp_path: Path
) -> None:
    told = {"scorers": ("brightness", "contrast"), "weights": (2.0, 3.0), "fingerprints": ()}
    written(tmp_path, **told, low=(0.0, 0.0), high=(0.9, 0.01))
    pixels = pictures[:1].clone().requires_grad_()
    (found,) = torch.autograd.grad(
        load_scorer(f"head:{tmp_path}").reward(pixels, PROMPTS[:1]).sum(), pixels
    )
    (expected,) = torch.autograd.grad(
        load_scorer("brightness").reward(pixels, PROMPTS[:1]).sum() * 2 / 0.9, pixels
    )
    assert torch.allclose(found, expected, atol=1e-6)  # the contrast lies beyond its range
    assert float(expected.abs().max()) > 1e-5


def test_a_scorer_that_never_varied_adds_nothing_and_no_verdict_stays_none() -> None:
    scores = torch.tensor([-1.0, 0.5, 9.0, torch.nan])
    assert Range(low=0.0, high=2.0).unit(scores)[:3].tolist() == [0.0, 0.25, 1.0]
    assert Range(low=1.0, high=1.0).unit(scores)[:3].tolist() == [0.0, 0.0, 0.0]
    for width in (0.0, 1.0):
        assert bool(Range(low=0.0, high=width).unit(scores)[3].isnan())


def test_other_weights_people_and_damage_are_refused(tmp_path: Path) -> None:
    written(tmp_path, fingerprints=("0" * 32,) * 3)
    with pytest.raises(DataError, match="calibrated with other weights of world-reward"):
        load_scorer(f"head:{tmp_path}")
    written(tmp_path)
    with pytest.raises(UsageError, match="an ensemble knows no people"):
        load_scorer(f"head:{tmp_path}#ana")
    for told in ({"weights": (1.0,)}, {"fingerprints": ("a", "b")}):
        written(tmp_path, **told)
        with pytest.raises(DataError, match="lists of different lengths"):
            load_scorer(f"head:{tmp_path}")


def test_the_command_scores_with_what_train_reward_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, made = tmp_path / "mix", tmp_path / "image.png"
    args = ["builtin:pairs", "--head", "ensemble", "--rows", "40", "--out", str(head), "--json"]
    assert main(["train-reward", *args, "--scorer", "world-reward,world-fidelity"]) == 0
    weights = json.loads(capsys.readouterr().out)["weights"]
    from diffpref.evaluate.pictures import png

    made.write_bytes(png(torch.full((3, 32, 32), 90, dtype=torch.uint8)))
    args = [str(made), "--prompt", PROMPTS[0], "--json", "--scorer"]
    assert main(["score", *args, f"head:{head},world-reward,world-fidelity"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    about = json.loads((head / ENSEMBLE).read_text())
    expected = sum(
        weights[name] * min(max((row["scores"][name] - low) / (high - low), 0), 1)
        for name, low, high in zip(about["scorers"], about["low"], about["high"], strict=True)
    )
    assert row["scores"]["head"] == pytest.approx(expected, abs=1e-4)
