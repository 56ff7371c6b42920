"""A finished run on data full of words that must not leave this machine."""

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diffpref.data.records import Record
from diffpref.data.writers import image_of, write_jsonl
from diffpref.io import png_bytes
from diffpref.run.execute import execute
from tests.models.conftest import write_sd15
from tests.run.conftest import changed

CANARIES = ("canary-prompt", "canary-person", "canary-folder", "canary-host")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sd15(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on data full of canaries: LoRA, convolutions, alpha != rank, an average."""
    folder = tmp_path_factory.mktemp("canary-folder")
    data = canaries(folder / "canary-folder-data")
    tree: dict[str, Any] = {
        "model": {"base": str(base), "dtype": "fp32", "device": "cpu"},
        "adapter": {"rank": 2, "alpha": 7, "targets": ["to_q", "conv1", "ff.net.2"]},
        "method": {"name": "diffusion_dpo", "beta": 2000},
        "data": {"source": str(data), "cache": str(folder / "cache"), "resolution": 64},
        "loop": {"steps": 2},
        "ema": {"decay": 0.5},
        "optimizer": {"lr": 1e-2},
        "save": {"every": 1, "keep": 5},
    }
    return execute(changed(tree, {}), folder / "run")


def canaries(folder: Path) -> Path:
    rows = []
    for index in range(4):
        shades = [Image.new("RGB", (64, 64), (40 * index + 60 * side, 90, 30)) for side in (1, 0)]
        images = tuple(image_of(png_bytes(each, {"canary-host": "x"})) for each in shades)
        prompt = f"canary-prompt number {index}"
        rows.append(Record(prompt=prompt, images=images, scores=(1.0, 0.0), user="canary-person"))
    write_jsonl(folder, rows)
    return folder
