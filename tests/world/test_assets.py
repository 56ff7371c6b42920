"""The bundled model, reward, pairs and prompts: whole, within size, apart by split, and good."""

import json
from pathlib import Path

import pytest
import torch

from diffpref.assets import assets_root, builtin
from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.io import open_image
from diffpref.models import Bundle, load_bundle
from diffpref.models.sample import SampleSettings, sample
from diffpref.rewards import load_scorer
from diffpref.world.captions import parse
from diffpref.world.oracle import fidelity
from diffpref.world.people import TIE, utility
from diffpref.world.splits import split_of

SPLITS = ("train", "validation", "test")
MEGABYTE = 10**6


@pytest.fixture(scope="module")
def base() -> Bundle:
    return load_bundle("builtin:base")


def prompts(split: str) -> list[str]:
    return Path(builtin(f"builtin:prompts/{split}")).read_text().splitlines()


def records(split: str) -> list[Record]:
    rows = open_records("builtin:pairs", split=split).rows()
    return [row for row in rows if isinstance(row, Record)]


def test_all_assets_together_are_small() -> None:
    size = sum(path.stat().st_size for path in assets_root().rglob("*") if path.is_file())
    assert size <= 48 * MEGABYTE


def test_the_base_has_the_stock_layout_and_no_pickle() -> None:
    folder = builtin("builtin:base")
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert {"vae", "unet", "text_encoder", "tokenizer", "scheduler"} <= index.keys()
    endings = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert endings <= {".json", ".safetensors", ".txt"}


def test_the_base_shows_what_held_out_prompts_say(base: Bundle) -> None:
    asked = prompts("test")[:48]
    how = SampleSettings(steps=20)
    images = sample(base, asked, seed=5, settings=how)
    assert images.shape == (48, 3, 32, 32)
    assert float(fidelity(images, tuple(asked)).mean()) > 0.78


def test_prompts_and_people_belong_to_one_split_each() -> None:
    seen: dict[str, str] = {}
    for split in SPLITS:
        for prompt in prompts(split):
            assert seen.setdefault(prompt, split) == split
            assert split_of(prompt) == split
            parse(prompt)
        for row in records(split):
            assert split_of(row.prompt) == split
            assert split_of(f"person-{int(str(row.user)):04d}") == split
    assert len(prompts("test")) >= 256


def test_images_belong_to_one_split_each() -> None:
    manifest = json.loads((assets_root() / "manifest.json").read_text())
    hashes = [set(manifest[split]["image_hashes"]) for split in SPLITS]
    assert not hashes[0] & hashes[1]
    assert not hashes[0] & hashes[2]
    assert not hashes[1] & hashes[2]


def test_votes_mostly_follow_the_population(base: Bundle) -> None:
    """People repeat themselves 75-80 % of the time and differ: agreement lies between."""
    del base
    agreed: list[float] = []
    for row in records("validation")[:150]:
        images = torch.stack([_pixels(row, index) for index in range(2)])
        first, second = utility(images, (row.prompt, row.prompt)).tolist()
        if abs(first - second) > TIE and row.scores[0] != row.scores[1]:
            agreed.append(float((row.scores[0] > row.scores[1]) == (first > second)))
    assert 0.6 < sum(agreed) / len(agreed) < 0.95


def test_the_reward_prefers_what_the_population_prefers() -> None:
    scorer = load_scorer("world-reward")
    right: list[float] = []
    for row in records("test")[:120]:
        images = torch.stack([_pixels(row, index) for index in range(2)])
        true = utility(images, (row.prompt, row.prompt))
        said = scorer.score(images, (row.prompt, row.prompt)).values
        if abs(float(true[0] - true[1])) > TIE:
            right.append(float((true[0] > true[1]) == (said[0] > said[1])))
    assert sum(right) / len(right) > 0.7


def _pixels(row: Record, index: int) -> torch.Tensor:
    image = open_image(row.images[index].content, where=row.where)
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return data.view(image.height, image.width, 3).permute(2, 0, 1).float() / 255
