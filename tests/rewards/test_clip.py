"""The two-tower host against stock open_clip, and what it says about damaged folders."""

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor

from diffpref.errors import DataError, UsageError
from diffpref.io import load_weights, save_tensors
from diffpref.rewards import load_scorer
from diffpref.rewards.open_clip_folder import CONFIG, WEIGHTS, preprocess
from tests.rewards.conftest import PROMPTS


@pytest.fixture
def damaged(reward_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(reward_folder, tmp_path / "reward"))


def test_stock_open_clip_loads_the_folder_and_agrees(reward_folder: Path, pictures: Tensor) -> None:
    net = open_clip.create_model(f"local-dir:{reward_folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{reward_folder}")
    with torch.no_grad():
        image = net.encode_image((pictures - 0.5) / 0.3, normalize=True)
        text = net.encode_text(tokenizer(list(PROMPTS)), normalize=True)
        theirs = net.logit_scale.exp() * text @ image.T
    scorer = load_scorer("world-reward", weights=str(reward_folder))
    assert torch.allclose(scorer.score_matrix(pictures, PROMPTS), theirs, atol=1e-5)


def test_embeddings_have_length_one(reward_folder: Path, pictures: Tensor) -> None:
    scorer = load_scorer("world-reward", weights=str(reward_folder))
    for found in (scorer.embed_images(pictures), scorer.embed_prompts(PROMPTS)):
        assert torch.allclose(found.norm(dim=1), torch.ones(4), atol=1e-5)
    with pytest.raises(UsageError, match="has no image embeddings"):
        load_scorer("world-oracle").embed_images(pictures)


def test_the_info_names_the_weights_by_their_hash(reward_folder: Path) -> None:
    info = load_scorer("world-reward", weights=str(reward_folder)).info
    assert [(ref.file, len(ref.sha256)) for ref in info.weights] == [("model.safetensors", 64)]
    assert (info.kind, info.preprocess_id) == ("image-text", "bicubic-antialias/32/centre")
    assert info.tokenizer_id == "hf-clip/24"


def test_a_prompt_that_is_cut_is_flagged(reward_folder: Path, pictures: Tensor) -> None:
    scorer = load_scorer("world-reward", weights=str(reward_folder))
    long = "a very long prompt with far more than twenty-four letters"
    found = scorer.score(pictures[:2], [PROMPTS[3], long])
    assert found.flags == ((), ("truncated",))


def test_mixed_sizes_are_scored_in_their_own_order(reward_folder: Path, pictures: Tensor) -> None:
    scorer = load_scorer("world-reward", weights=str(reward_folder))
    large = torch.nn.functional.interpolate(pictures[1:2], scale_factor=2)[0]
    mixed = [pictures[0], large, pictures[2]]
    found = scorer.score(mixed, PROMPTS[:3]).values
    alone = [scorer.score([mixed[i]], PROMPTS[i]).values for i in range(3)]
    assert torch.allclose(found, torch.cat(alone), atol=1e-5)


def test_preprocessing_cuts_the_centre_and_keeps_its_own_size_exact() -> None:
    wide = torch.zeros(1, 3, 32, 64)
    wide[..., 16:48] = 1.0
    assert torch.equal(preprocess(wide, 32, (0.5,) * 3, (0.5,) * 3), torch.ones(1, 3, 32, 32))
    exact = torch.rand(1, 3, 32, 32)
    assert torch.equal(preprocess(exact, 32, (0.0,) * 3, (1.0,) * 3), exact)
    tall = preprocess(torch.rand(1, 3, 96, 40), 32, (0.0,) * 3, (1.0,) * 3)
    assert tall.shape == (1, 3, 32, 32)
    assert 0 <= float(tall.min()) <= float(tall.max()) <= 1


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="there is no folder nowhere"):
        load_scorer("world-reward", weights="nowhere")


def test_a_damaged_config_is_named(damaged: Path) -> None:
    (damaged / CONFIG).write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        load_scorer("world-reward", weights=str(damaged))
    (damaged / CONFIG).write_text('{"model_cfg": {"embed_dims": 3}}')
    with pytest.raises(DataError, match="not an open_clip config"):
        load_scorer("world-reward", weights=str(damaged))


def test_weights_of_another_model_are_refused(damaged: Path) -> None:
    weights = load_weights(damaged / WEIGHTS)
    weights.pop("text_projection")
    save_tensors(damaged / WEIGHTS, weights)
    with pytest.raises(DataError, match="text_projection"):
        load_scorer("world-reward", weights=str(damaged))
    config = json.loads((damaged / CONFIG).read_text())
    assert config["model_cfg"]["embed_dim"] == 8
