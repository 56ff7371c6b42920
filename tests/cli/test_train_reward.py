"""`diffpref train-reward`, in process, on a few bundled rows."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from diffpref.cli import main
from diffpref.cli.train_reward import train_reward
from diffpref.data.writers import write_jsonl
from diffpref.rewards.heads import HEADS
from diffpref.rewards.heads.calibrate import load_ensemble
from diffpref.rewards.heads.files import load_head
from diffpref.rewards.heads.settings import FitSettings
from diffpref.users.choose import Search
from diffpref.users.prior_file import find_prior
from tests.data.makers import pair

QUICK = ("--rows", "60", "--steps", "20", "--groups", "3")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any], str]:
    code = main(["train-reward", *args, "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else {}, captured.err


@pytest.mark.parametrize("name", list(HEADS))
def test_every_head_is_trained_measured_and_saved(
    name: str, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "head"
    code, found, _ = run(
        capsys, "builtin:pairs", "--head", name, "--out", str(out), "--cache", cache, *QUICK
    )
    assert code == 0
    assert found == json.loads((out / "report.json").read_text()) | {"folder": str(out)}
    assert found["head"] == name
    assert found["settings"]["groups"] == 3
    assert found["pairs"]["train"] > 60
    assert found["history"][-1]["step"] == 20
    head = load_head(out)
    assert (head.name, head.embedder.scorer) == (name, "world-reward")
    assert bool(found["new_people"]) == HEADS[name].personal == bool(head.people)
    assert (out / "report.html").stat().st_size > 5000


def test_by_prompt_people_are_known_and_the_table_is_printed(
    cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "head")
    args = ["builtin:pairs", "--out", out, "--cache", cache, "--split", "prompt", *QUICK]
    assert main(["train-reward", *args]) == 0
    captured = capsys.readouterr()
    for line in ("lore", "world-reward alone", "exact own utility", "calibration error", "cosine"):
        assert line in captured.out
    assert "new people" not in captured.out
    assert "embedding" in captured.err
    assert main(["train-reward", *args]) == 2
    assert "holds a head already" in capsys.readouterr().err
    assert main(["train-reward", *args, "--force", "--json"]) == 0


def test_a_population_is_learned_and_profiles_start_from_it(
    cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Search(widths=(4,), ranks=(1, 2), floors=(None,), believed=(1.0,))
    few = list(small.choices())
    monkeypatch.setattr(Search, "choices", lambda _: iter(few))
    out = tmp_path / "mine"
    args = ("builtin:pairs", "--head", "bt-prior", "--out", str(out), "--cache", cache)
    code, found, _ = run(capsys, *args, "--rows", "60")
    assert code == 0
    assert found == json.loads((out / "report.json").read_text()) | {"folder": str(out)}
    assert found["chosen"]["width"] == 4
    prior = find_prior(str(out))
    assert (prior.name, prior.sha256, prior.size) == ("mine", found["sha256"], 2 * found["rank"])
    code, _, err = run(capsys, *args, "--features", "brightness", "--force")
    assert (code, "takes no features" in err) == (2, True)
    assert main(["train-reward", *args, "--rows", "60", "--force"]) == 0
    printed = capsys.readouterr().out
    assert "loss of a held-out vote" in printed
    assert f"--prior {out / 'prior.safetensors'}" in printed


def test_an_ensemble_is_calibrated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ensemble"
    args = ("builtin:pairs", "--head", "ensemble", "--out", str(out), "--rows", "40")
    code, _, err = run(capsys, *args, "--scorer", "world-reward")
    assert code == 2
    assert "needs two or more scorers" in err
    code, found, _ = run(capsys, *args, "--scorer", "world-reward,world-fidelity")
    assert code == 0
    assert found["weights"].keys() == {"world-reward", "world-fidelity"}
    names = [each["name"] for each in found["accuracy"]]
    assert names == ["ensemble", "world-reward alone", "world-fidelity alone"]
    assert load_ensemble(out / "ensemble.json").scorers == ("world-reward", "world-fidelity")
    assert (out / "report.html").exists()


def test_ones_own_votes_have_no_ceilings_but_everything_else(
    cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [pair(n, user=f"u{n % 12}", scores=(float(n % 2), float(1 - n % 2))) for n in range(120)]
    source = str(write_jsonl(tmp_path / "data", rows))
    code, found, _ = run(
        capsys, source, "--out", str(tmp_path / "head"), "--cache", cache, *QUICK, "--rows", "500"
    )
    assert code == 0
    names = [each["name"] for each in found["accuracy"]]
    assert names == ["lore", "lore, without their votes", "world-reward alone"]
    assert found["taste"] is None
    assert found["accuracy"][0]["expected"] is None


def test_too_few_votes_say_what_to_do(
    cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(write_jsonl(tmp_path / "data", [pair(1, user="ana"), pair(2, user="ana")]))
    code, _, err = run(capsys, source, "--out", str(tmp_path / "head"), "--cache", cache)
    assert code == 4
    assert "give more votes, or --split prompt" in err


def test_an_embedder_without_towers_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("builtin:pairs", "--out", str(tmp_path / "o"), "--cache", str(tmp_path / "c"), *QUICK)
    code, _, err = run(capsys, *args, "--embedder", "world-oracle")
    assert code == 2
    assert "world-oracle has no image embeddings" in err


def test_the_defaults_of_the_command_are_those_of_the_settings() -> None:
    said = {name: each.default for name, each in inspect.signature(train_reward).parameters.items()}
    settings = FitSettings()
    for name in ("groups", "width", "steps", "lr", "ridge", "spread", "margin", "seed"):
        assert said[name] == getattr(settings, name), name
    assert said["label_smoothing"] == settings.smoothing


def test_a_head_reads_further_scorers_and_scores_with_them_again(
    cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "head")
    told = ("--features", "warmth,world-fidelity", "--cache", cache, *QUICK)
    code, found, _ = run(capsys, "builtin:pairs", "--out", out, *told)
    assert code == 0
    assert [each["name"] for each in found["embedder"]["extras"]] == ["warmth", "world-fidelity"]
    assert "warmth" in (tmp_path / "head" / "report.html").read_text()
    head = load_head(out)
    assert (head.shape.d, head.shape.prompt) == (66, 64)
    code, _, err = run(capsys, "builtin:pairs", "--out", out + "2", *told, "--head", "ensemble")
    assert code == 2
    assert "ensemble takes no features" in err
