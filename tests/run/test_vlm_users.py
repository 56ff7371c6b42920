"""Users as a tiny vision-language model sees them: a run, a profile of it, images of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.cli import main
from diffpref.config import RunConfig, parse_config
from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.data.writers import write_jsonl
from diffpref.errors import ConfigError
from diffpref.models.user_files import read_about
from diffpref.run.execute import execute
from diffpref.train.log import read_metrics
from diffpref.users.vlm.files import FILE
from diffpref.users.vlm.profile import load_vlm_profile
from diffpref.users.vlm.reader import VlmReader
from tests.run.test_resume import final
from tests.users.tiny_vlms import write_layout


@pytest.fixture(scope="module")
def voted(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voted")
    rows = [row for row in open_records(str(pairs)).rows() if isinstance(row, Record)]
    names = ["ann", "bob"] * 5
    write_jsonl(folder, [replace(row, user=name) for row, name in zip(rows, names, strict=True)])
    return folder


@pytest.fixture(scope="module")
def tree(base: Path, voted: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("vlm_run")
    vlm = {"folder": str(write_layout(root / "vlm", "llava_onevision")), "side": 32}
    return {
        "model": {"base": str(base), "dtype": "fp32", "device": "cpu"},
        "adapter": {"kind": "user"},
        "reference": {"kind": "gate_off"},
        "method": {"name": "ppd", "beta": 2000},
        "users": {
            "encoder": "vlm",
            "vlm": {**vlm, "dtype": "fp32", "device": "cpu", "pairs": 2},
            "width": 2,
            "support": [2],
            "held_out": "train",
            "held_out_rows": 4,
            "held_out_support": 2,
        },
        "data": {
            "source": str(voted),
            "cache": str(root / "cache"),
            "cache_dtype": "fp32",
            "pairs_per_batch": 2,
            "resolution": 64,
        },
        "loop": {"steps": 2},
        "optimizer": {"lr": 1e-2},
        "evaluate": {"every": 2},
        "save": {"every": 1, "keep": 5},
    }


@pytest.fixture(scope="module")
def trained(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return execute(parse_config(tree), tmp_path_factory.mktemp("runs") / "run")


def test_a_run_learns_whom_the_model_describes(
    trained: Path, tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = read_metrics(trained / "metrics.jsonl")
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    measured = next(line for line in lines if "implicit/own" in line)
    assert measured["implicit/null"] == 0.5
    assert measured["implicit_margin/own"] != measured["implicit_margin/swapped"]
    assert (trained / FILE).is_file()
    assert read_about(trained)["encoder"].startswith("vlm/llava_onevision/")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the model was asked again")

    monkeypatch.setattr(VlmReader, "read", refuse)  # every state was kept
    again = execute(parse_config(tree), tmp_path / "again")
    ours, theirs = final(again), final(trained)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_profile_of_the_run_is_told_to_its_adapter(
    trained: Path,
    tree: dict[str, Any],
    voted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, folder = tmp_path / "me.profile", tree["users"]["vlm"]["folder"]
    asked = ["profile", "fit", str(voted), "-o", str(path), "--user", "ann", "--encoder", "vlm"]
    assert main([*asked, "--prior", str(trained), "--vlm", folder, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pairs"] == 5
    assert told["encoder"]["id"] == read_about(trained)["encoder"]
    profile = load_vlm_profile(path)
    assert profile is not None
    assert main(["profile", "show", str(path)]) == 0
    assert profile.fingerprint in capsys.readouterr().out
    how = ["--run", str(trained), "--steps", "2", "--guidance", "1", "--device", "cpu"]
    for name, more in (
        ("mine", ["--profile", str(path)]),
        ("off", ["--profile", str(path), "--strength", "0"]),
        ("plain", []),
    ):
        out = ["--out", str(tmp_path / name)]
        assert main(["generate", "a thing", *how, *out, *more]) == 0
    capsys.readouterr()
    images = {name: _pixels(tmp_path / name) for name in ("mine", "off", "plain")}
    assert images["off"] == images["plain"]
    assert images["mine"] != images["plain"]
    for option in (["--rerank", "2"], ["--compare"]):
        out = ["--out", str(tmp_path / "no"), "--profile", str(path)]
        assert main(["generate", "a thing", *how, *out, *option]) == 2
        assert "--encoder bt" in capsys.readouterr().err
    for verb in (["add", str(path), str(voted)], ["ask", str(path), "--candidates", str(voted)]):
        assert main(["profile", *verb]) == 4
        assert "no belief" in capsys.readouterr().err


def _pixels(folder: Path) -> bytes:
    from PIL import Image

    (file,) = folder.glob("*.png")
    with Image.open(file) as image:
        return image.tobytes()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "--vlm"),
        (["--vlm", "nowhere"], "--prior"),
        (["--vlm", "nowhere", "--keep-statistics"], "--keep-statistics"),
    ],
)
def test_a_profile_names_what_it_needs(
    more: list[str], said: str, voted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["-o", str(tmp_path / "me.profile"), "--encoder", "vlm", "--prior", "nowhere"]
    assert main(["profile", "fit", str(voted), *out, *more]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("users", "where"),
    [
        ({"vlm": None}, "users.vlm"),
        ({"encoder": "mean_difference"}, "users.vlm"),
    ],
)
def test_the_encoder_and_its_model_go_together(
    users: dict[str, Any], where: str, tree: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config({**tree, "users": {**tree["users"], **users}})
    assert where in str(refused.value)


def test_too_wide_a_vector_is_refused_with_the_number_that_fits(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    config: RunConfig = parse_config({**tree, "users": {**tree["users"], "width": 30}})
    with pytest.raises(ConfigError, match="set at most"):
        execute(config, tmp_path / "run")
