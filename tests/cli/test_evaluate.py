"""`diffpref evaluate` and `diffpref score`."""

import csv
import json
from pathlib import Path

import pytest

from diffpref.cli import main
from diffpref.models import (
    AdapterConfig,
    load_bundle,
    make_adapter,
    save_lora,
    trainable_parameters,
)
from tests.data.makers import pair
from tests.models.conftest import write_sd15

PROMPTS = ["two red circles", "one blue square on the left", "three small triangles"]
ORACLE = ("--scorer", "world-oracle,world-fidelity")
FEW = ("--steps", "1", "--guidance", "2")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sd15(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="module")
def lora(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = load_bundle(str(base))
    make_adapter(bundle, AdapterConfig(rank=2))
    for value in trainable_parameters(bundle.unet).values():
        value.data += 0.3
    folder = tmp_path_factory.mktemp("lora")
    save_lora(folder, bundle)
    return folder


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS))
    return str(path)


def test_winrate_writes_a_table_json_and_every_score(
    base: Path, lora: Path, prompts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "winrate", f"{base}+{lora}", str(base), "--prompts", prompts, *ORACLE]
    assert main([*words, *FEW, "--seeds", "0,1", "--out", str(tmp_path / "wr")]) == 0
    out, err = capsys.readouterr()
    assert "world-oracle" in out
    assert "95% interval" in out
    assert "comparing: 12 of 12 images" in err
    found = json.loads((tmp_path / "wr" / "winrate.json").read_text())
    assert (found["prompts"], found["seeds"]) == (3, [0, 1])
    assert set(found["rates"]) == {"world-oracle", "world-fidelity"}
    assert found["facts"]["base"]["guidance"] == "2"
    with (tmp_path / "wr" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2
    oracle = [float(row["outcome"]) for row in rows if row["scorer"] == "world-oracle"]
    assert sum(oracle) / 6 == pytest.approx(found["rates"]["world-oracle"]["rate"])


def test_a_model_ties_with_itself(
    base: Path, prompts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "winrate", str(base), str(base), "--prompts", prompts, "--json", *ORACLE]
    assert main([*words, *FEW, "--out", str(tmp_path / "wr"), "--n", "2"]) == 0
    rates = json.loads(capsys.readouterr().out)["rates"]
    assert [(rate["tie"], rate["rate"], rate["n"]) for rate in rates.values()] == [
        (1.0, 0.5, 2)
    ] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scorer", "world-orcale"], "did you mean 'world-oracle'"),
        (["--seeds", "0,x", *ORACLE], "'x' is not a whole number"),
        (["--prompts", "nowhere.txt", *ORACLE], "no such file of prompts"),
    ],
)
def test_wrong_words_are_refused_before_a_model_is_loaded(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "winrate", "./no-model", "./no-model", *words]) in {2, 4}
    assert message in capsys.readouterr().err


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    from diffpref.data.writers import write_jsonl

    return str(write_jsonl(tmp_path / "pairs", [pair(n) for n in range(5)]))


def test_implicit_accuracy_of_a_model_against_itself_is_chance(
    base: Path, pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "implicit", str(base), str(base), "--data", pairs, "--json"]
    assert main([*words, "--cache", str(tmp_path / "cache"), "--grid", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["accuracy"], found["margin"], found["n"]) == (0.5, 0.0, 5)
    assert list(found["by_t"]) == ["250", "750"]


def test_implicit_accuracy_of_a_lora_has_an_error_and_can_be_repeated(
    base: Path, lora: Path, pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "implicit", f"{base}+{lora}", str(base), "--data", pairs, "--n", "4"]
    words += ["--cache", str(tmp_path / "cache"), "--grid", "2", "--json"]
    assert main(words) == 0
    once = json.loads(capsys.readouterr().out)
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == once
    assert once["n"] == 4
    assert once["margin"] != 0
    assert once["margin_error"] > 0
    assert main([*words[:-1], "--batch", "3"]) == 0
    assert f"{once['accuracy']:.4f} ± {once['standard_error']:.4f}" in capsys.readouterr().out


def test_models_of_other_spaces_are_refused(
    base: Path, pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_sd15(tmp_path / "other", prediction="v_prediction")
    words = ["evaluate", "implicit", str(base), str(other), "--data", pairs]
    assert main([*words, "--cache", str(tmp_path / "cache")]) == 3
    assert "differ in what they predict" in capsys.readouterr().err


def test_score_reads_the_prompts_generate_wrote(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "images")
    assert main(["generate", *PROMPTS, "--model", str(base), "--out", out, *FEW]) == 0
    capsys.readouterr()
    words = ["score", out, *ORACLE, "--out", str(tmp_path / "scores.csv")]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["prompt"] for each in found] == PROMPTS
    assert all(0 <= each["scores"]["world-fidelity"] <= 1 for each in found)
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["world-oracle"]) for row in rows] == [
        each["scores"]["world-oracle"] for each in found
    ]
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["score", out, *ORACLE, "--prompt", PROMPTS[0]]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["file", "world-oracle", "world-fidelity"]
    assert table[-1].split()[0] == "mean"


def test_score_says_what_is_missing(
    prompts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    path = tmp_path / "x.png"
    Image.new("RGB", (32, 32)).save(path)
    for words, code, message in (
        ([str(path)], 4, "the PNG names no prompt"),
        ([str(path), "--prompts-file", prompts], 4, "3 prompts, 1 images"),
        ([str(path), "--prompt", "a", "--prompts-file", prompts], 2, "not both"),
        ([str(tmp_path / "gone.png"), "--prompt", PROMPTS[0]], 4, "there is no such file"),
        ([str(path), "--prompt", "a horse"], 4, "is not a caption of the bundled world"),
    ):
        assert main(["score", *words, *ORACLE]) == code, words
        assert message in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["score", str(tmp_path / "empty"), "--prompt", "a"]) == 4
