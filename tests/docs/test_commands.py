"""What pages show can be run: always that it is well formed, slowly that it works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from diffpref import assets
from tests.docs.blocks import PAGES, ROOT, Block, blocks
from tests.docs.commands import commands, mistake

EVERY = sorted([ROOT / "README.md", *PAGES.rglob("*.md")])
RUN = {
    "README.md": ROOT / "README.md",
    "quickstart.md": PAGES / "quickstart.md",
    "align-sdxl.md": PAGES / "align-sdxl.md",
    "personalise.md": PAGES / "personalise.md",
}
RUNNABLE = {"bash", "python"}
PRESET = re.compile(r"\b(?:shapes|sd15|sdxl)/[a-z][a-z0-9_]*\b(?![./])")


@pytest.mark.parametrize("page", EVERY, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_shown_is_one_the_program_knows(page: Path) -> None:
    wrong = [
        f"{page.name}:{line}: {what}" for line, words in commands(page) if (what := mistake(words))
    ]
    assert wrong == []


def test_the_check_itself_finds_what_is_not_there() -> None:
    assert mistake(["trane"]) == "no verb trane"
    assert mistake(["data", "inspekt"]) == "no data inspekt"
    assert mistake(["train", "x", "--dry-rum"]) == "no option --dry-rum of train"
    assert mistake(["methods", "show", "inpo", "--json"]) is None


def test_every_preset_named_exists() -> None:
    named = {name for page in EVERY for name in PRESET.findall(page.read_text(encoding="utf-8"))}
    assert len(named) > 20
    added = {"shapes/focal_po"}  # by the reader of adding-a-method.md
    assert named - set(assets.presets()) == added


@pytest.mark.parametrize("name", RUN)
def test_a_block_that_is_not_run_says_why(name: str) -> None:
    found = [block for block in blocks(RUN[name]) if block.language in RUNNABLE]
    assert any(block.skip is None for block in found)
    assert all(block.skip is None or len(block.skip.split()) >= 3 for block in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_every_block_works_in_the_order_of_the_page(name: str, tmp_path: Path) -> None:
    """One folder for the whole page, as a reader has; `diffpref` is this checkout."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool, words in {"diffpref": "-m diffpref", "python": ""}.items():
        (tools / tool).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (tools / tool).chmod(0o755)
    place = tmp_path / "here"
    place.mkdir()
    for block in blocks(RUN[name]):
        if block.language in RUNNABLE and block.skip is None:
            run_block(block, place, tools)


def run_block(block: Block, place: Path, tools: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    start = {"bash": [bash, "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    done = subprocess.run(
        [*start[block.language], block.text],
        cwd=place,
        env={
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"line {block.line}:\n{block.text}\n{done.stderr[-3000:]}"
