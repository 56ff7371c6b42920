"""Settings that must not change what is learned: slicing, replaying, the form of the reference."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.config import RunConfig
from diffpref.run.execute import execute
from diffpref.train.log import read_metrics
from tests.run.learned import distance, trained

Make = Callable[..., RunConfig]


SLICINGS: list[dict[str, Any]] = [
    {"data__pairs_per_batch": 1, "loop__micro_batches": 8},
    {"data__pairs_per_batch": 2, "loop__micro_batches": 4},
    {"data__pairs_per_batch": 8, "loop__rows_per_pass": 1},
    {"data__pairs_per_batch": 8, "loop__rows_per_pass": 3},
]


@pytest.mark.parametrize("slicing", SLICINGS)
def test_eight_pairs_are_eight_pairs_however_they_are_sliced(
    make_config: Make, tmp_path: Path, slicing: dict[str, Any]
) -> None:
    exact = {"model__dtype": "fp64", "loop__steps": 4}
    execute(make_config(data__pairs_per_batch=8, **exact), tmp_path / "whole")
    execute(make_config(**exact, **slicing), tmp_path / "sliced")
    assert distance(tmp_path / "whole", tmp_path / "sliced") < 1e-10
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("whole", "sliced")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)


CLASSES: dict[str, dict[str, Any]] = {
    "8 x 1": {"data__pairs_per_batch": 1, "loop__micro_batches": 8},
    "4 x 2": {"data__pairs_per_batch": 2, "loop__micro_batches": 4},
    "2 x 4": {"data__pairs_per_batch": 4, "loop__micro_batches": 2},
    "one row a pass": {"data__pairs_per_batch": 8, "loop__rows_per_pass": 1},
    "checkpointed": {"data__pairs_per_batch": 8, "model__gradient_checkpointing": True},
    "a copy as reference": {"data__pairs_per_batch": 8, "reference": {"kind": "frozen"}},
    "three rows a pass": {"data__pairs_per_batch": 8, "loop__rows_per_pass": 3},
}


@pytest.mark.slow
def test_twenty_steps_are_the_same_curve_without_a_one_sided_difference(
    make_config: Make, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    """Differences of 1e-10 are rounding; a mean of 1e-12 of them is no bend of the curve."""
    exact = {"model__dtype": "fp64", "loop__steps": 20}
    execute(make_config(data__pairs_per_batch=8, **exact), tmp_path / "whole")
    curve = _losses(tmp_path / "whole")
    for name, settings in CLASSES.items():
        execute(make_config(**exact, **settings), tmp_path / name)
        assert distance(tmp_path / "whole", tmp_path / name) < 1e-10, name
        off = torch.tensor(_losses(tmp_path / name)) - torch.tensor(curve)
        assert float(off.abs().max()) < 1e-10, name
        assert abs(float(off.mean())) < 1e-12, name
        count("equivalent settings", 1)


@pytest.mark.slow
def test_bfloat16_follows_the_curve_of_float32_without_a_one_sided_difference(
    make_config: Make, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    """Networks round to 8 bits and a logit is a thousandfold difference, so single losses scatter.

    What must not happen is a bend: a first loss beside log 2, errors that are off, a mean
    difference beyond its standard error, weights that went elsewhere.
    """
    for name in ("fp32", "bf16"):
        settings = {"data__pairs_per_batch": 8, "model__dtype": name, "loop__steps": 20}
        execute(make_config(**settings), tmp_path / name)
    wide, narrow = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("fp32", "bf16"))
    assert narrow[0]["loss"] == pytest.approx(wide[0]["loss"], abs=1e-6)
    for ours, theirs in zip(narrow, wide, strict=True):
        assert ours["winner_error"] == pytest.approx(theirs["winner_error"], rel=2e-3)
    off = torch.tensor(_losses(tmp_path / "bf16")) - torch.tensor(_losses(tmp_path / "fp32"))
    assert float(off.std()) > 0  # it was another precision
    assert abs(float(off.mean())) < 3 * float(off.std()) / len(off) ** 0.5
    one, other = (
        torch.cat([value.flatten() for value in trained(tmp_path / name).values()])
        for name in ("fp32", "bf16")
    )
    assert float(torch.cosine_similarity(one, other, dim=0)) > 0.95
    count("equivalent settings", 1)


def _losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(folder / "metrics.jsonl")]


def test_adapters_off_and_a_frozen_copy_are_the_same_reference(
    make_config: Make, tmp_path: Path
) -> None:
    execute(make_config(reference={"kind": "adapters_off"}), tmp_path / "off")
    execute(make_config(reference={"kind": "frozen"}), tmp_path / "copy")
    assert distance(tmp_path / "off", tmp_path / "copy") == 0.0


@pytest.mark.parametrize("keep", [True, "keep_convs"])
def test_gradient_checkpointing_learns_the_same(
    keep: bool | str, make_config: Make, tmp_path: Path
) -> None:
    execute(make_config(loop__steps=3), tmp_path / "plain")
    execute(make_config(loop__steps=3, model__gradient_checkpointing=keep), tmp_path / "saved")
    assert distance(tmp_path / "plain", tmp_path / "saved") < 1e-6


def test_the_first_loss_is_log_two_and_the_health_is_complete(
    make_config: Make, tmp_path: Path
) -> None:
    execute(make_config(loop__steps=3), tmp_path / "run")
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert rows[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert rows[0]["implicit_accuracy"] == 0.5
    assert rows[0]["winner_drift"] == rows[0]["loser_drift"] == 0.0
    for row in rows[1:]:
        assert row["margin"] == pytest.approx(row["winner_drift"] - row["loser_drift"], abs=1e-7)
        seen = [value for value in row["by_t"]["margin"] if value is not None]
        assert 1 <= len(seen) <= 2


def test_full_fine_tuning_trains_every_weight_and_exports_a_pipeline(
    make_config: Make, tmp_path: Path
) -> None:
    from diffusers import StableDiffusionPipeline

    config = make_config(
        adapter={"kind": "full"}, reference={"kind": "frozen"}, optimizer__lr=1e-4, loop__steps=2
    )
    execute(config, tmp_path / "run")
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "run" / "pipeline")
    saved, kept = pipe.unet.state_dict(), trained(tmp_path / "run")
    assert all(torch.equal(saved[name], value) for name, value in kept.items())
    assert len(kept) == len(list(pipe.unet.parameters()))


def test_the_run_folder_loads_as_a_lora_in_stock_diffusers(
    make_config: Make, tmp_path: Path, base: Path
) -> None:
    from diffusers import StableDiffusionPipeline

    execute(make_config(loop__steps=3), tmp_path / "run")
    pipe = StableDiffusionPipeline.from_pretrained(base)
    pipe.load_lora_weights(tmp_path / "run")
    loaded = {
        name.replace(".default_0.", ".default."): value
        for name, value in pipe.unet.named_parameters()
        if "lora_" in name
    }
    kept = trained(tmp_path / "run")
    assert loaded.keys() == kept.keys()
    assert all(torch.equal(loaded[name], value) for name, value in kept.items())
