"""`diffpref config`."""

import json
from pathlib import Path

import pytest

from diffpref.cli import main

DPO = "# Diffusion-DPO on SDXL\nseed: 0  # kept\n"


@pytest.fixture(autouse=True)
def preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make `sdxl/dpo` the only preset and an empty folder the current one."""
    configs, here = tmp_path / "configs", tmp_path / "here"
    (configs / "sdxl").mkdir(parents=True)
    here.mkdir()
    (configs / "sdxl/dpo.yaml").write_text(DPO)
    monkeypatch.setattr("diffpref.assets.configs_root", lambda: configs)
    monkeypatch.chdir(here)
    return here


def test_list_shows_each_preset_with_its_first_comment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "list"]) == 0
    assert capsys.readouterr().out == "sdxl/dpo  Diffusion-DPO on SDXL\n"
    assert main(["config", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "sdxl/dpo", "about": "Diffusion-DPO on SDXL"}
    ]


def test_show_writes_the_preset_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "sdxl/dpo"]) == 0
    assert capsys.readouterr().out == DPO


def test_an_unknown_preset_exits_3_with_the_nearest_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["config", "show", "sdxl/dpp"]) == 3
    assert "did you mean 'sdxl/dpo'" in capsys.readouterr().err


def test_copy_makes_a_file_of_the_presets_name(
    preset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "copy", "sdxl/dpo"]) == 0
    assert capsys.readouterr().out == "dpo.yaml\n"
    assert (preset / "dpo.yaml").read_text() == DPO


def test_copy_takes_a_file_or_a_folder_as_its_target(preset: Path) -> None:
    (preset / "mine").mkdir()
    assert main(["config", "copy", "sdxl/dpo", "mine"]) == 0
    assert main(["config", "copy", "sdxl/dpo", "mine/other.yaml"]) == 0
    assert sorted(path.name for path in (preset / "mine").iterdir()) == ["dpo.yaml", "other.yaml"]


def test_copy_never_overwrites(preset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (preset / "dpo.yaml").write_text("mine")
    assert main(["config", "copy", "sdxl/dpo"]) == 2
    assert "dpo.yaml: this file exists already" in capsys.readouterr().err
    assert (preset / "dpo.yaml").read_text() == "mine"


def test_copy_into_a_folder_that_does_not_exist_says_so(
    preset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "copy", "sdxl/dpo", "no/where.yaml"]) == 2
    assert "no/where.yaml: cannot be written: No such file" in capsys.readouterr().err
    assert list(preset.iterdir()) == []


def test_an_unknown_command_gives_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "lits"]) == 2
    assert "list" in capsys.readouterr().err


def test_schema_describes_a_run_and_refuses_unknown_keys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"model", "method", "data", "loop"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_show_as_json_is_checked_and_holds_every_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "model: {base: builtin:base}\nmethod: {name: diffusion_dpo}\n"
        "data: {source: builtin:pairs}\nloop: {steps: 3}\noptimizer: {lr: 1e-5}\n"
    )
    assert main(["config", "show", str(mine), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"]["name"] == "diffusion_dpo"
    assert found["loop"]["max_consecutive_skips"] == 3
    assert main(["config", "show", "sdxl/dpo", "--json"]) == 3
