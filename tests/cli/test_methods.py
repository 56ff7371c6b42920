"""`diffpref methods`."""

import json
import re
from pathlib import Path

import pytest

from diffpref.assets import find_config
from diffpref.catalogue import method_names
from diffpref.cli import main
from diffpref.config import load_config

ROOT = Path(__file__).parents[2]

ROW_KEYS = [
    "name",
    "summary",
    "status",
    "reference",
    "data",
    "parameters",
    "equation",
    "paper",
    "bibtex",
]


def test_methods_alone_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    alone = capsys.readouterr().out
    assert main(["methods", "list"]) == 0
    assert capsys.readouterr().out == alone
    names = [line.split()[0] for line in alone.splitlines()[1:]]
    assert names == method_names()
    assert "Wallace et al. 2023" in alone


@pytest.mark.parametrize("words", [["methods", "--json"], ["methods", "list", "--json"]])
def test_the_json_list_has_every_method_with_the_documented_keys(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == method_names()
    assert [row["name"] for row in rows if list(row) != ROW_KEYS] == []


def test_show_gives_the_equation_and_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "show", "diffusion_dpo"]) == 0
    out = capsys.readouterr().out
    assert "method.beta  5000.0" in out
    assert "https://arxiv.org/abs/2311.12908" in out
    assert "log sigma" in out


def test_show_takes_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "show", "diffusion_dpo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == {"beta": 5000.0}


def test_cite_writes_bibtex(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "cite", "diffusion_dpo"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("@misc{wallace2023diffusion,\n")
    assert "eprint = {2311.12908}" in out


def test_every_method_can_be_cited_and_has_an_equation(capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows if not row["bibtex"].startswith("@misc{")] == []
    assert [row["name"] for row in rows if "=" not in row["equation"]] == []


def test_an_unknown_method_gives_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "show", "difusion_dpo"]) == 3
    assert "did you mean 'diffusion_dpo'" in capsys.readouterr().err


def test_the_losses_without_a_method_are_shown_as_overrides_that_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["methods", "show", "diffusion_dpo"]) == 0
    shown = set(re.findall(r"^ +\w+ +'?(parts\.loss=.*?)'?$", capsys.readouterr().out, re.M))
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    told = set(re.findall(r"train sd15/dpo '?(parts\.loss=.*?)'?`", page))
    assert len(shown) == 4
    assert shown == told
    built = [
        load_config(find_config("sd15/dpo"), [override]).parts["loss"] for override in sorted(shown)
    ]
    assert built == [
        "hinge",
        "squared",
        {"kind": "cross_entropy", "epsilon": 0.1},
        {"kind": "robust", "epsilon": 0.1},
    ]
