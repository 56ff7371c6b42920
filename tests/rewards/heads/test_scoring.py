"""A trained head, loaded again as a scorer on its embedder."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffpref.errors import DataError, UsageError
from diffpref.rewards import LoadedScorer, LoadOptions, ScoringModel, load_scorer
from diffpref.rewards.heads.embeddings import fingerprint
from diffpref.rewards.heads.files import save_head
from diffpref.rewards.heads.head import EmbedderRef, Head
from diffpref.rewards.heads.scoring import head_model, load_head_scorer
from tests.rewards.conftest import PROMPTS
from tests.rewards.heads.conftest import pairs_of, random_head


@pytest.fixture(scope="module")
def embedder(reward_folder: Path) -> LoadedScorer:
    return load_scorer("world-reward", weights=str(reward_folder))


def make_head(embedder: LoadedScorer, name: str = "lore") -> Head:
    rng = torch.Generator().manual_seed(0)
    tables = torch.nn.functional.normalize(torch.randn(2, 30, 8, generator=rng), dim=2)
    index = torch.randint(0, 30, (40, 3), generator=rng)
    pairs = pairs_of(tables[0], tables[1], index, index[:, 0] % 2, torch.ones(40), 2)
    head = random_head(name, pairs, {"ana": torch.tensor([2.0, 0.0, -2.0])})
    ref = EmbedderRef(scorer="world-reward", fingerprint=fingerprint(embedder.info))
    return replace(head, embedder=ref)


def test_scores_are_the_heads_rewards_of_the_embeddings(
    embedder: LoadedScorer, pictures: Tensor
) -> None:
    head = make_head(embedder)
    image, prompt = embedder.embed_images(pictures), embedder.embed_prompts(PROMPTS)
    for user in (None, "ana"):
        model = head_model(head, embedder.model, user)
        assert isinstance(model, ScoringModel)
        found = LoadedScorer(model).score(pictures, PROMPTS, batch_size=3)
        assert torch.allclose(found.values, head.reward(image, prompt, user), atol=1e-5)
    ana, bob = (
        head_model(each, embedder.model, "ana").info
        for each in (head, head.with_person("ana", torch.zeros(3)))
    )
    assert ana.id == "head:ana"
    assert ana.weights != bob.weights
    assert ana.weights[:-1] == embedder.info.weights


def test_the_gradient_reaches_the_pixels(embedder: LoadedScorer, pictures: Tensor) -> None:
    pixels = pictures.clone().requires_grad_()
    scorer = LoadedScorer(head_model(make_head(embedder, "pal-a"), embedder.model, "ana"))
    torch.autograd.backward(scorer.reward(pixels, PROMPTS).sum())
    assert pixels.grad is not None
    assert float(pixels.grad.abs().amax(dim=(1, 2, 3)).min()) > 0


def test_a_head_of_other_weights_of_the_embedder_is_refused(embedder: LoadedScorer) -> None:
    head = replace(make_head(embedder), embedder=EmbedderRef(scorer="world-reward", fingerprint=""))
    with pytest.raises(DataError, match="trained on other weights of world-reward"):
        head_model(head, embedder.model)


def test_what_cannot_score_a_picture_is_refused(embedder: LoadedScorer) -> None:
    with pytest.raises(UsageError, match="gpm judges pairs only"):
        head_model(make_head(embedder, "gpm"), embedder.model)
    with pytest.raises(UsageError, match="no person 'bob'"):
        head_model(make_head(embedder), embedder.model, "bob")


def test_a_folder_is_loaded_with_the_bundled_embedder(pictures: Tensor, tmp_path: Path) -> None:
    bundled = load_scorer("world-reward")
    rng = torch.Generator().manual_seed(1)
    table = torch.nn.functional.normalize(torch.randn(2, 9, 64, generator=rng), dim=2)
    index = torch.randint(0, 9, (20, 3), generator=rng)
    pairs = pairs_of(table[0], table[1], index, index[:, 0] % 2, torch.ones(20), 2)
    head = random_head("lore", pairs, {"ana": torch.tensor([2.0, 0.0, -2.0])})
    ref = EmbedderRef(scorer="world-reward", fingerprint=fingerprint(bundled.info))
    save_head(tmp_path, replace(head, embedder=ref))
    model = load_head_scorer(LoadOptions(variant=f"{tmp_path}#ana"))
    expected = head.reward(bundled.embed_images(pictures), bundled.embed_prompts(PROMPTS), "ana")
    found = LoadedScorer(model).score(pictures, PROMPTS).values
    assert torch.allclose(found, expected, atol=1e-5)
    moved = LoadedScorer(model.to(torch.device("cpu"), torch.float32))
    assert torch.allclose(moved.score(pictures, PROMPTS).values, expected, atol=1e-5)
    with pytest.raises(UsageError, match="needs its folder"):
        load_head_scorer(LoadOptions())
