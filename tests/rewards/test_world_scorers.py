"""The oracle as a scorer is the world's own arithmetic."""

import pytest
import torch
from torch import Tensor

from diffpref.errors import DataError
from diffpref.rewards import load_scorer
from diffpref.world.oracle import fidelity
from diffpref.world.people import FIDELITY_WEIGHT, TEMPERATURE, population_taste, utility
from diffpref.world.taste import attributes
from tests.rewards.conftest import PROMPTS


def test_the_oracle_is_the_exact_population_utility(pictures: Tensor) -> None:
    found = load_scorer("world-oracle").score(pictures, PROMPTS).values
    taste = attributes(pictures) @ population_taste()
    expected = taste - FIDELITY_WEIGHT * (1 - fidelity(pictures, PROMPTS))
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(found, utility(pictures, PROMPTS), atol=1e-6)


def test_fidelity_is_one_for_true_pictures_and_less_for_others(pictures: Tensor) -> None:
    matrix = load_scorer("world-fidelity").score_matrix(pictures, PROMPTS[:3])
    assert torch.equal(matrix.diagonal(), torch.ones(3))
    assert float(matrix[0, 1]) < 1


def test_the_oracle_chooses_as_a_person_with_the_populations_taste_does() -> None:
    assert load_scorer("world-oracle").info.temperature == TEMPERATURE
    assert load_scorer("world-fidelity").info.temperature * FIDELITY_WEIGHT == TEMPERATURE


@pytest.mark.parametrize("name", ["world-oracle", "world-fidelity"])
def test_pictures_and_prompts_from_elsewhere_are_refused(name: str, pictures: Tensor) -> None:
    scorer = load_scorer(name)
    with pytest.raises(DataError, match="pictures of 32 x 32 pixels, not 64 x 48"):
        scorer.score(torch.rand(1, 3, 48, 64), "two red circles")
    with pytest.raises(DataError, match="is not a caption of the bundled world"):
        scorer.score(pictures[:1], "an astronaut riding a horse")
