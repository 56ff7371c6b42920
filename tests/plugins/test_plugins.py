"""A package that is only installed adds a method, a scorer and a reader, and a run uses them."""

import json
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from diffpref.catalogue import find_method, method_names
from diffpref.cli import main
from diffpref.config import parse_config
from diffpref.run.execute import execute
from tests.docs.blocks import PAGES, blocks
from tests.models.conftest import write_sd15

ENTRY_POINTS = """
[diffpref.methods]
stranger_dpo = strangers:METHOD

[diffpref.scorers]
redness = strangers:load_redness

[diffpref.readers]
strange-csv = strangers:READER
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay the package out as an installer does: a module and the record of its distribution."""
    site = tmp_path / "site"
    record = site / "strangers-1.0.dist-info"
    record.mkdir(parents=True)
    text = (Path(__file__).parent / "strangers.py.txt").read_text(encoding="utf-8")
    (site / "strangers.py").write_text(text, encoding="utf-8")
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "strangers", raising=False)


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    """Red pictures preferred to blue ones, in the stranger's format, and a line that is broken."""
    folder = tmp_path / "votes"
    folder.mkdir()
    lines = []
    for index in range(3):
        for name, colour in (("red", (200, 10 * index, 0)), ("blue", (0, 10 * index, 200))):
            Image.new("RGB", (64, 64), colour).save(folder / f"{name}{index}.png")
        lines.append(f"red{index}.png,blue{index}.png,a thing number {index}")
    (folder / "my.pairs").write_text("\n".join([*lines, "broken"]) + "\n")
    return folder / "my.pairs"


def asked(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    assert main([*map(str, words)]) == code
    out, err = capsys.readouterr()
    return out if code == 0 else err


def test_the_page_names_the_groups_this_package_uses() -> None:
    (page,) = [block for block in blocks(PAGES / "adding-a-method.md") if block.language == "toml"]
    shown = tomllib.loads(page.text)["project"]["entry-points"]
    assert {f"[{group}]" for group in shown} == set(ENTRY_POINTS.split("\n")[1::3])


@pytest.mark.usefixtures("installed")
def test_it_is_loaded_only_when_it_is_named() -> None:
    assert "stranger_dpo" in method_names()
    assert "strangers" not in sys.modules
    assert find_method("stranger_dpo").summary == "somebody else's"
    assert "strangers" in sys.modules


@pytest.mark.usefixtures("installed")
def test_what_it_adds_is_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    methods = {each["name"]: each for each in json.loads(asked(capsys, "methods", "--json"))}
    assert methods["stranger_dpo"]["summary"] == "somebody else's"
    assert methods["stranger_dpo"]["parameters"] == {"beta": 1234.0}
    assert "stranger_dpo" in asked(capsys, "methods")
    assert "Strange: preferences (2026)" in asked(capsys, "methods", "show", "stranger_dpo")
    assert "@misc{doe2026strange," in asked(capsys, "methods", "cite", "stranger_dpo")
    scorers = json.loads(asked(capsys, "scorers", "--json"))
    assert {"name": "redness", "kind": "plugin"} in scorers
    assert "redness" in asked(capsys, "scorers")
    told = asked(capsys, "methods", "show", "stranger_dpi", code=3)
    assert "did you mean 'stranger_dpo'" in told


@pytest.mark.usefixtures("installed")
def test_its_reader_and_scorer_answer_their_verbs(
    votes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads(asked(capsys, "data", "inspect", votes, "--format", "strange-csv", "--json"))
    assert (told["format"], told["report"]["kept"]) == ("strange-csv", 3)
    assert [row["line"] for row in told["bad_rows"]] == [4]
    found = votes.parent / "red0.png"
    rows = json.loads(asked(capsys, "score", found, "--scorer", "redness", "--json"))
    assert "redness" in json.dumps(rows)
    assert "did you mean 'strange-csv'" in asked(
        capsys, "data", "inspect", votes, "--format", "strange-cvs", code=2
    )


@pytest.mark.usefixtures("installed")
def test_a_run_trains_by_its_method_on_its_format_and_is_judged_by_its_scorer(
    votes: Path, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("a thing\n")
    tree = {
        "model": {"base": str(write_sd15(tmp_path / "base")), "dtype": "fp32", "device": "cpu"},
        "adapter": {"rank": 2},
        "method": "stranger_dpo",
        "data": {
            "source": str(votes),
            "format": "strange-csv",
            "cache": str(tmp_path / "cache"),
            "resolution": 64,
            "max_bad_fraction": 0.5,
        },
        "loop": {"steps": 1},
        "evaluate": {
            "every": 1,
            "prompts": str(tmp_path / "prompts.txt"),
            "n": 1,
            "steps": 2,
            "scorers": ["redness"],
        },
    }
    run = execute(parse_config(tree), tmp_path / "run")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert 0 <= lines[-1]["win_rate/redness"] <= 1
    made = load_file(run / "pytorch_lora_weights.safetensors")
    assert any(bool(torch.any(value)) for name, value in made.items() if "lora_B" in name)
