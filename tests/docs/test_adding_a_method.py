"""The page on adding a method, followed to the letter in a copy of this repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, Block, blocks

COPIED = ("diffpref", "configs", "tests", "scripts", "docs")
NAME = "focal_po"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code; the assets are only looked at."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def followed(tree: Path, block: Block) -> None:
    """Do what a block says: write its file, or insert its lines where its context stands."""
    assert block.file is not None, f"line {block.line} names no file"
    path = tree / block.file
    if block.language != "diff":
        assert not path.exists(), f"{block.file} is there already"
        path.write_text(block.text, encoding="utf-8")
        return
    lines = block.text.splitlines()
    before = "\n".join(line[1:] for line in lines if not line.startswith("+")) + "\n"
    after = "\n".join(line[1:] for line in lines) + "\n"
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"the lines around {after!r} stand in {block.file} not once"
    path.write_text(text.replace(before, after), encoding="utf-8")


def run(tree: Path, *words: str) -> str:
    code = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert code.returncode == 0, code.stdout[-3000:] + code.stderr[-3000:]
    return code.stdout


@pytest.mark.slow
def test_a_method_added_by_the_page_alone_obeys_the_laws(tree: Path) -> None:
    for block in blocks(PAGES / "adding-a-method.md"):
        if block.language in {"python", "diff", "yaml"}:
            followed(tree, block)
    run(tree, "ruff", "check", "diffpref", f"tests/methods/test_{NAME}.py")
    run(tree, "ruff", "format", "--check", "diffpref", f"tests/methods/test_{NAME}.py")
    run(tree, "scripts.write_pages")
    assert f"[`{NAME}`]" in (tree / "docs/methods.md").read_text()
    assert "2501.06645" in (tree / "docs/method-reference.md").read_text()
    laws = ["tests/methods", "tests/config", "-k", f"{NAME} or {NAME.replace('_', '-')}"]
    out = run(tree, "pytest", "-q", "-p", "no:cacheprovider", *laws)
    passed = int(out.rpartition(" passed")[0].split()[-1])
    assert passed >= 20, out  # ten laws, some for several sizes; the equation; the preset
    run(
        tree,
        "diffpref",
        "train",
        f"shapes/{NAME}",
        "loop.steps=2",
        "optimizer.warmup=0",
        "--out",
        "run",
    )
    assert (tree / "run/pytorch_lora_weights.safetensors").is_file()
