"""Rounds on disk: refused where they do not fit, inspected, written as data, bounded."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.cli import main
from diffpref.config import RunConfig
from diffpref.errors import ConfigError, DataError
from diffpref.run.execute import execute
from diffpref.run.rollouts.mixing import mixed
from diffpref.run.rollouts.rounds import Round, Rounds
from tests.models.conftest import write_sd15
from tests.run.test_resume import lines

Make = Callable[..., RunConfig]


@pytest.fixture
def rounds(online: Make, tmp_path: Path) -> str:
    execute(online(), tmp_path / "first")
    return str(tmp_path / "first" / "rollouts")


@pytest.mark.parametrize(
    ("field", "value", "write"),
    [
        ("seed", 1, "seed: 0"),
        ("method__k", 3, "method.k: 2"),
        ("model__dtype", "fp64", "model.dtype: fp32"),
        ("rollout__steps", 5, "rollout.steps: 4"),
        ("rollout__eta", 0.5, "rollout.eta: 1.0"),
        ("rollout__guidance", 3.0, "rollout.guidance: 2.0"),
        ("rollout__resolution", 128, "rollout.resolution: 64"),
        ("rollout__prompts", "builtin:prompts/train", "rollout.prompts: "),
        ("reward__scorer", "jpeg-size", "reward.scorer: brightness"),
        ("reward__standardise", 2, "reward.standardise: 4"),
    ],
)
def test_rounds_made_with_another_setting_are_refused_by_its_name(
    online: Make, tmp_path: Path, rounds: str, field: str, value: Any, write: str
) -> None:
    config = online(rollout__frozen=rounds, **{field: value})
    with pytest.raises(ConfigError) as told:
        execute(config, tmp_path / "again")
    assert told.value.where == field.replace("__", ".")
    assert f"write {write}" in str(told.value)


def test_rounds_of_another_model_are_refused(
    online: Make, tmp_path: Path, rounds: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.models.conftest.SEED", 99)
    other = write_sd15(tmp_path / "another")
    config = online(rollout__frozen=rounds, model__base=str(other))
    with pytest.raises(ConfigError, match=r"model\.base") as told:
        execute(config, tmp_path / "again")
    assert f"write model.base: {base}" in str(told.value)


@pytest.mark.parametrize(
    ("made", "learns", "told"),
    [
        ("tailorpo", "spo", "hold pairs of steps, and spo learns from pairs of steps and their"),
        ("tailorpo", "d3po", "hold pairs of steps, and d3po learns from steps of paired walks"),
        ("tailorpo", "nft", "hold pairs of steps, and nft learns from lists of images"),
        ("nft", "tailorpo", "hold lists of images, and tailorpo learns from pairs of steps"),
        ("nft", "diffusion_dpo", "hold lists of images, and diffusion_dpo learns from pairs"),
        ("d3po", "ddpo", "hold steps of paired walks, and ddpo learns from steps of graded"),
    ],
)
def test_rounds_of_another_kind_are_refused_with_the_method_that_learns_from_them(
    online: Make, tmp_path: Path, made: str, learns: str, told: str
) -> None:
    execute(online(made, loop__steps=1), tmp_path / "first")
    config = online(learns, rollout__frozen=str(tmp_path / "first" / "rollouts"))
    with pytest.raises(ConfigError) as error:
        execute(config, tmp_path / "again")
    assert told in str(error.value)
    assert f"write method.name: {made}" in str(error.value)


def test_a_method_that_needs_no_means_learns_from_rounds_that_have_them(
    online: Make, tmp_path: Path
) -> None:
    execute(online("spo", loop__steps=1), tmp_path / "first")
    config = online("tailorpo", rollout__frozen=str(tmp_path / "first" / "rollouts"))
    execute(config, tmp_path / "again")
    assert len(lines(tmp_path / "again")) == 3


def test_rounds_that_do_not_say_how_they_were_made_are_refused(
    online: Make, tmp_path: Path, rounds: str
) -> None:
    folder = Rounds(folder=Path(rounds), keep=99)
    old = folder.read(0)
    for number in folder.numbers():
        (Path(rounds) / f"round-{number:06d}.safetensors").unlink()
    folder.save(Round(number=0, first=0, windows=1, items=old.items, about=old.about))
    with pytest.raises(ConfigError, match="do not say how they were made"):
        execute(online(rollout__frozen=rounds), tmp_path / "again")


def test_online_images_are_inspected_written_and_learned_from_offline(
    online: Make, make_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(online("diffusion_dpo"), tmp_path / "run")
    rounds, out = str(tmp_path / "run" / "rollouts"), tmp_path / "out"
    assert main(["data", "inspect", rounds, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["rounds"]
    assert (found["kind"], found["rounds"], found["t"]) == ("pairs of images", 3, {})
    assert sum(found["prompts"].values()) == found["items"] == 6
    assert set(found["prompts"]) <= {f"a thing number {i}" for i in range(5)}
    with pytest.raises(DataError, match="diffpref data export"):
        execute(make_config(data__source=rounds), tmp_path / "wrong")
    assert main(["data", "export", rounds, str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 6
    assert main(["data", "inspect", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["kept"] == 6
    _check_brighter_is_better(out)
    execute(make_config(data__source=str(out), loop__steps=2), tmp_path / "offline")
    assert all(line["grad_norm"] > 0 for line in lines(tmp_path / "offline"))
    assert main(["data", "export", rounds, str(out)]) != 0, "rows were written over"


def _check_brighter_is_better(out: Path) -> None:
    """The reward of the run was brightness: what is written must agree with it."""
    from PIL import Image, ImageStat

    for line in (out / "metadata.jsonl").read_text().splitlines():
        row = json.loads(line)
        means = [sum(ImageStat.Stat(Image.open(out / name)).mean) for name in row["images"]]
        assert (means[0] > means[1]) == (row["scores"][0] > row["scores"][1])


@pytest.mark.parametrize("method", ["nft", "diffusion_kto", "plackett_luce"])
def test_rounds_of_every_method_on_whole_images_are_written(
    online: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    execute(online(method, loop__steps=1), tmp_path / "run")
    rounds, out = str(tmp_path / "run" / "rollouts"), tmp_path / "out"
    assert main(["data", "export", rounds, str(out)]) == 0
    assert main(["data", "inspect", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out.split("\n", 2)[2])["report"]
    assert report["kept"] > 0
    assert report["bad"] == {}


def test_inspecting_steps_shows_their_levels_and_gaps_and_their_export_is_refused(
    rounds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "inspect", rounds, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["rounds"]
    assert sum(found["t"].values()) == found["items"] > 0
    assert found["gap"]["least"] <= found["gap"]["median"] <= found["gap"]["most"]
    assert main(["data", "inspect", rounds]) == 0
    assert "#" in capsys.readouterr().out
    assert main(["data", "export", rounds, str(tmp_path / "out")]) != 0
    assert "only whole images can be written" in capsys.readouterr().err


COUNTS = {801: 40, 601: 3, 401: 17, 201: 20}


@pytest.mark.parametrize("per_step", [4, 8, 16])
def test_timesteps_of_every_stretch_of_a_skewed_round_are_those_of_the_round(
    per_step: int,
) -> None:
    t = torch.cat([torch.full((n,), level) for level, n in COUNTS.items()])
    order = mixed(0, 0, {"t": t, "asked": torch.arange(len(t))})
    assert sorted(order.tolist()) == list(range(len(t)))
    for start in range(0, len(t), per_step):
        part = t[order[start : start + per_step]]
        for level, n in COUNTS.items():
            share = n * len(part) / len(t)
            assert abs(int((part == level).sum()) - share) < 1.5, (start, level)


def test_rare_timesteps_are_far_apart_and_equal_ones_take_turns() -> None:
    t = torch.tensor([9] * 30 + [5] * 3)
    order = mixed(3, 1, {"t": t[:, None].expand(-1, 2)})
    places = (t[order] == 5).nonzero()[:, 0].tolist()
    assert min(b - a for a, b in pairwise(places)) >= 10
    even = torch.tensor([1, 2, 3]).repeat_interleave(5)
    order = mixed(0, 0, {"t": even})
    assert all(set(part.tolist()) == {1, 2, 3} for part in even[order].split(3))
    assert not torch.equal(order, mixed(0, 1, {"t": even}))
    assert torch.equal(order, mixed(0, 0, {"t": even}))


def test_rounds_that_no_checkpoint_resumes_from_are_dropped(tmp_path: Path) -> None:
    rounds = Rounds(folder=tmp_path, keep=5)
    for number in range(6):
        items = {"asked": torch.arange(2)}
        rounds.save(Round(number=number, first=4 * number, windows=4, items=items, about={}))
    assert rounds.numbers() == [3, 4, 5]  # the newest begins at 20, and 15 is in round 3
    assert rounds.holding(15) is not None
    assert rounds.before(24) is not None


def test_steps_are_reported_by_timestep(online: Make, tmp_path: Path) -> None:
    execute(online(), tmp_path / "run")
    for line in lines(tmp_path / "run"):
        assert {"step_kl", "gap", "margin"} <= set(line["by_t"])
        assert any(value for value in line["by_t"]["gap"])
