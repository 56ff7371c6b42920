"""A profile as a scorer: the features' product with the taste, and gradients to the pixels."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffpref.errors import DataError, UsageError
from diffpref.rewards import LoadedScorer, load_scorer
from diffpref.rewards.heads.items import Items
from diffpref.users.prior_file import find_prior, save_prior
from diffpref.users.profile import UserProfile, null_profile
from diffpref.users.profile_file import save_profile
from diffpref.users.reward import profile_scorer
from diffpref.world.captions import parse
from diffpref.world.render import render
from diffpref.world.scene import sample_scenes

PROMPTS = ("two red circles", "one blue square on the left", "three small triangles")
PRIOR = find_prior("bt-world")


@pytest.fixture(scope="module")
def embedder() -> LoadedScorer:
    return load_scorer("world-reward")


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return render(sample_scenes(5, torch.arange(3), [parse(text) for text in PROMPTS]))


def somebody() -> UserProfile:
    profile = null_profile(PRIOR)
    mean = profile.belief.mean + torch.linspace(-1, 1, len(profile.belief.mean)).double()
    return replace(profile, belief=replace(profile.belief, mean=mean.float().double()))


def test_scores_are_the_features_times_the_taste(
    embedder: LoadedScorer, pixels: torch.Tensor
) -> None:
    found = profile_scorer(somebody(), embedder).score(list(pixels), PROMPTS)
    items = Items(image=embedder.embed_images(list(pixels)), prompt=embedder.embed_prompts(PROMPTS))
    expected = PRIOR.whitening(items).double() @ somebody().belief.mean
    assert torch.allclose(found.values.double(), expected, atol=1e-4)


def test_a_step_along_the_gradient_raises_the_score(
    embedder: LoadedScorer, pixels: torch.Tensor
) -> None:
    scorer = profile_scorer(somebody(), embedder)
    moved = (0.1 + 0.8 * pixels).requires_grad_()
    before = scorer.reward(moved, PROMPTS)
    (slope,) = torch.autograd.grad(before.sum(), moved)
    after = scorer.reward(moved.detach() + 1e-3 * slope.sign(), PROMPTS)
    assert bool((after > before.detach()).all())


def test_it_is_loaded_by_its_file_and_its_identity_is_its_numbers(
    tmp_path: Path, pixels: torch.Tensor, embedder: LoadedScorer
) -> None:
    path = tmp_path / "me.profile"
    save_profile(path, somebody())
    scorer = load_scorer(f"profile:{path}")
    expected = profile_scorer(somebody(), embedder).score(list(pixels), PROMPTS)
    assert torch.equal(scorer.score(list(pixels), PROMPTS).values, expected.values)
    assert scorer.info.weights == expected.info.weights
    assert str(tmp_path) not in repr(scorer.info)
    other = profile_scorer(null_profile(PRIOR), embedder)
    assert other.info.weights[-1].sha256 != scorer.info.weights[-1].sha256


def test_another_population_is_given_as_its_weights(tmp_path: Path) -> None:
    population = replace(PRIOR, name="mine", rows=PRIOR.rows[:3])
    save_prior(tmp_path / "far" / "mine.safetensors", population)
    path = tmp_path / "me.profile"
    save_profile(path, null_profile(population))
    with pytest.raises(UsageError, match="no population 'mine'"):
        load_scorer(f"profile:{path}")
    weights = str(tmp_path / "far" / "mine.safetensors")
    assert load_scorer(f"profile:{path}", weights=weights).info.name == "profile"
    with pytest.raises(DataError, match="another population"):
        load_scorer(f"profile:{path}", weights="bt-world")


def test_other_weights_of_the_embedder_are_refused(embedder: LoadedScorer) -> None:
    other = replace(PRIOR, embedder=replace(PRIOR.embedder, fingerprint="00"))
    with pytest.raises(DataError, match="other weights of world-reward"):
        profile_scorer(null_profile(other), embedder)
    with pytest.raises(UsageError, match="profile:FILE"):
        load_scorer("profile")
