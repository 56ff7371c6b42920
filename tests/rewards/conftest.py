"""A tiny random reward folder, and rendered pictures of the world."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffpref.io import save_tensors, write_json
from diffpref.rewards.open_clip_folder import CONFIG, WEIGHTS, build_net
from diffpref.world.captions import parse
from diffpref.world.render import render
from diffpref.world.scene import sample_scenes
from tests.models.conftest import make_tokenizer
from tests.rewards.tiny import TINY

PROMPTS = (
    "two red circles",
    "one blue square on the left",
    "three small triangles",
    "some blue things",
)


def write_reward(folder: Path) -> Path:
    """Write a random two-tower model in open_clip's folder layout."""
    tokenizer = make_tokenizer(24)
    config = {
        "model_cfg": {
            "embed_dim": 8,
            "vision_cfg": {
                "image_size": 32,
                "patch_size": 8,
                "width": 16,
                "layers": 1,
                "head_width": 8,
                "pool_type": "avg",
            },
            "text_cfg": {
                "context_length": 24,
                "vocab_size": len(tokenizer),
                "hf_tokenizer_name": "tiny",
                "width": 16,
                "heads": 2,
                "layers": 1,
            },
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.3, 0.3, 0.3]},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build_net(config)
    folder.mkdir(parents=True, exist_ok=True)
    halves = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_tensors(folder / WEIGHTS, halves, {"format": "pt"})
    write_json(folder / CONFIG, config)
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward(tmp_path_factory.mktemp("reward"))


@pytest.fixture(scope="session")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """WEIGHTS_DIR with tiny weights of every scorer."""
    folder = tmp_path_factory.mktemp("weights")
    for name, write in TINY.items():
        write(folder / name)
    return folder


@pytest.fixture(scope="session")
def pictures() -> Tensor:
    """One true picture per prompt of PROMPTS, in [0, 1]."""
    return render(sample_scenes(0, torch.arange(len(PROMPTS)), [parse(text) for text in PROMPTS]))
