"""`bench step` and `bench data`: a run's own step and its own cache, timed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from diffpref.bench.flops import method_flops, pass_flops
from diffpref.cli import main
from diffpref.config import RunConfig, dump_config
from diffpref.errors import ConfigError
from diffpref.models import AdapterConfig
from diffpref.run.execute import execute
from diffpref.run.reading import read_speed
from diffpref.run.speed import StepSpeed, step_speed


@pytest.mark.slow
def test_a_step_is_timed_and_its_arithmetic_is_the_methods(
    make_config: Callable[..., RunConfig], base: Path
) -> None:
    found = step_speed(make_config(loop__micro_batches=2), warm=1, rounds=2)
    assert (found.pairs, found.rows_per_pass, len(found.seconds)) == (4, 4, 2)
    (dpo,) = method_flops(pass_flops(str(base), AdapterConfig(rank=2), 64), ["diffusion_dpo"])
    assert found.model_flops == found.hardware_flops == round(4 * dpo.flops)
    assert found.mfu == pytest.approx(4 * dpo.flops / found.median / found.peak_flops)


@pytest.mark.slow
def test_what_is_computed_again_counts_for_the_hardware_only(
    make_config: Callable[..., RunConfig], base: Path
) -> None:
    one = pass_flops(str(base), AdapterConfig(rank=2), 64)
    split = step_speed(make_config(loop__rows_per_pass=1), warm=0, rounds=1)
    assert split.model_flops is not None
    assert split.hardware_flops == split.model_flops + 4 * one.forward
    again = step_speed(make_config(model__gradient_checkpointing=True), warm=0, rounds=1)
    assert again.model_flops == split.model_flops
    assert again.model_flops is not None
    assert again.hardware_flops is not None
    assert split.hardware_flops is not None
    assert again.model_flops < again.hardware_flops < split.hardware_flops + 1


@pytest.mark.slow
def test_inversion_to_the_steps_that_are_drawn_is_counted(
    make_config: Callable[..., RunConfig],
) -> None:
    few, many = (
        step_speed(make_config(method={"name": "inpo", "steps": n}), warm=0, rounds=1)
        for n in (2, 10)
    )
    assert few.model_flops is not None
    assert many.model_flops is not None
    assert few.model_flops < many.model_flops


def test_a_rate_is_of_the_median_step() -> None:
    found = StepSpeed(
        device="cpu",
        pairs=6,
        rows_per_pass=4,
        seconds=(9.0, 2.0, 3.0),
        model_flops=30,
        hardware_flops=None,
        peak_flops=100.0,
    )
    assert (found.pairs_per_second, found.mfu, found.hfu) == (2.0, 0.1, None)


def test_a_step_that_needs_more_than_latents_is_refused_by_name(
    online: Callable[..., RunConfig],
) -> None:
    with pytest.raises(ConfigError, match="rollout: a run that samples"):
        step_speed(online())
    with pytest.raises(ConfigError, match="rollout: this run samples"):
        read_speed(online())


@pytest.mark.slow
def test_the_data_are_timed_and_what_limits_is_said(
    make_config: Callable[..., RunConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(loop__steps=1)
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(config))
    assert main(["bench", "data", str(path), "--needs", "1"]) != 0
    assert "no finished cache" in capsys.readouterr().err
    execute(config, tmp_path / "run")
    for needs, limits in (("0.001", "the step"), ("1000000000", "the data")):
        assert main(["bench", "data", str(path), "--needs", needs, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["limits"] == limits
        assert told["pairs_read"] == 16
        assert told["warm_pairs_per_s"] > 0


@pytest.mark.slow
def test_the_verb_tells_a_steps_numbers(
    make_config: Callable[..., RunConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "run.yaml", tmp_path / "step.json"
    path.write_text(dump_config(make_config()))
    assert main(["bench", "step", str(path), "--rounds", "1", "--json", "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(out.read_text())
    assert told["pairs_per_step"] == 2
    assert told["kernels_per_step"] is None
