"""`diffpref compare`."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from diffpref.cli import main
from diffpref.config import dump_config, parse_config
from diffpref.models import (
    AdapterConfig,
    load_bundle,
    make_adapter,
    save_lora,
    trainable_parameters,
)
from tests.models.conftest import write_sd15

WORDS = ("--scorer", "world-oracle", "--steps", "1", "--guidance", "2")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sd15(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: configuration, metrics and exported LoRA."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    folder.mkdir()
    config = parse_config(
        {
            "model": {"base": str(base), "dtype": "fp32", "device": "cpu"},
            "method": {"name": "diffusion_dpo", "beta": 1234},
            "data": {"source": "builtin:pairs"},
        }
    )
    (folder / "config.yaml").write_text(dump_config(config))
    lines = [{"step": step, "loss": 0.7 - step / 100} for step in range(1, 9)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    bundle = load_bundle(str(base))
    make_adapter(bundle, AdapterConfig(rank=2))
    for value in trainable_parameters(bundle.unet).values():
        value.data += 0.3
    save_lora(folder, bundle)
    return folder


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    path = tmp_path / "prompts.txt"
    path.write_text("two red circles\none blue square on the left\nthree small triangles\n")
    return str(path)


def test_compare_writes_report_grid_and_scores(
    run: Path, base: Path, prompts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["compare", str(run), str(base), "--prompts", prompts, "--out", str(out), *WORDS]
    assert main([*words, "--n", "2", "--seeds", "0,1"]) == 0
    told = capsys.readouterr().out
    assert "first against base: 2 prompts, 2 seeds" in told
    assert sorted(path.name for path in out.iterdir()) == ["grid.png", "report.html", "scores.csv"]
    report = (out / "report.html").read_text()
    assert report.count("data:image/png;base64,") == 2 * 2 * 2
    assert "<strong>Loss</strong>" in report
    assert "1234" in report
    assert "torch" in report
    assert str(tmp_path.parent) not in report.replace(str(base), "")
    with Image.open(out / "grid.png") as picture:
        assert picture.width > 2 * 160
        assert picture.height > 4 * 160
    with (out / "scores.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4


def test_files_that_exist_are_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.html").write_text("mine")
    words = ["compare", "./no-model", "./no-model", "--out", str(tmp_path), *WORDS]
    assert main(words) == 2
    assert "report.html: exists already" in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text() == "mine"


def test_json_has_the_rates_and_the_files(
    base: Path, prompts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(base), str(base), "--prompts", prompts, "--out", str(tmp_path), *WORDS]
    assert main([*words, "--n", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rates"]["world-oracle"]["tie"] == 1.0
    assert Path(found["report"]).is_file()
    assert found["a"] == "base (A)"
