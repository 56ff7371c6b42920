"""A tiny model, a folder of pairs, and configurations of runs on them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.config import RunConfig, parse_config
from diffpref.data.records import Record
from diffpref.data.writers import image_of, write_jsonl
from diffpref.io import png_bytes
from tests.models.conftest import write_sd15
from tests.run.online import METHODS

PAIRS = 10


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sd15(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pairs of noise images, the brighter one preferred."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = torch.Generator().manual_seed(0)
    rows: list[Record] = []
    for index in range(PAIRS):
        images = [image_of(_png(rng, bright)) for bright in (0.7, 0.3)]
        rows.append(
            Record(
                prompt=f"a thing number {index % 7}",
                images=tuple(images),
                scores=(1.0, 0.0),
            )
        )
    write_jsonl(folder, rows)
    return folder


def _png(rng: torch.Generator, bright: float) -> bytes:
    from PIL import Image

    pixels = (bright + 0.2 * torch.randn(64, 64, 3, generator=rng)).clamp(0, 1)
    return png_bytes(Image.fromarray((pixels * 255).byte().numpy()), {})


def changed(tree: dict[str, Any], changes: Mapping[str, Any]) -> RunConfig:
    """Return the configuration; `section__field` changes one field, `section` a whole one."""
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            tree.setdefault(section, {})[name] = value
        else:
            tree[section] = value
    return parse_config(tree)


@pytest.fixture
def make_config(base: Path, pairs: Path, tmp_path: Path) -> Callable[..., RunConfig]:
    """Return a maker of small runs; keyword `section__field` changes one field."""

    def make(**changes: Any) -> RunConfig:
        tree: dict[str, Any] = {
            "model": {"base": str(base), "dtype": "fp32", "device": "cpu"},
            "adapter": {"rank": 2},
            "method": {"name": "diffusion_dpo", "beta": 2000},
            "data": {
                "source": str(pairs),
                "cache": str(tmp_path / "cache"),
                "cache_dtype": "fp32",
                "pairs_per_batch": 2,
                "caption_drop": 0.2,
                "resolution": 64,
            },
            "loop": {"steps": 6},
            "optimizer": {"lr": 1e-2},
            "save": {"every": 2, "keep": 10},
        }
        return changed(tree, changes)

    return make


@pytest.fixture
def online(base: Path, tmp_path: Path) -> Callable[..., RunConfig]:
    """Return a maker of small online runs; keyword `section__field` changes one field."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"a thing number {i}" for i in range(5)))

    def make(method: str = "tailorpo", **changes: Any) -> RunConfig:
        tree: dict[str, Any] = {
            "model": {"base": str(base), "dtype": "fp32", "device": "cpu"},
            "adapter": {"rank": 2},
            "method": {"name": method, **METHODS.get(method, {})},
            "rollout": {
                "prompts": str(prompts),
                "prompts_per_round": 2,
                "images": 3,
                "per_step": 4,
                "steps": 4,
                "guidance": 2.0,
                "resolution": 64,
            },
            "reward": {"scorer": "brightness", "standardise": 4},
            "loop": {"steps": 3},
            "optimizer": {"lr": 1e-2},
            "save": {"every": 1, "keep": 10},
        }
        return changed(tree, changes)

    return make
