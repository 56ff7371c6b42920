"""Scores become labels that sum to one per prompt."""

import pytest
import torch

from diffpref.errors import ConfigError
from diffpref.labels import hard, soft


def test_votes_keep_their_meaning_and_ties_are_shared() -> None:
    score = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 0.0]])
    assert hard(score).tolist() == [[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5]]


def test_raw_scores_choose_the_best_of_any_number_of_images() -> None:
    score = torch.tensor([[21.3, 22.1, 20.0], [-1.0, -1.0, -3.0], [3.0, 2.0, 1.0]])
    assert hard(score).tolist() == [[0, 1, 0], [0.5, 0.5, 0], [1, 0, 0]]


def test_a_single_like_is_the_label_one() -> None:
    assert hard(torch.tensor([[1.0]])).tolist() == [[1.0]]
    assert soft(torch.tensor([[1.0]])).tolist() == [[1.0]]


def test_soft_labels_are_shares_of_the_votes() -> None:
    score = torch.tensor([[0.7, 0.3], [0.5, 0.25], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[0.7, 0.3], [2 / 3, 1 / 3], [0.5, 0.5], [1.0, 0.0]]).double()
    assert torch.allclose(soft(score), expected, atol=1e-7)
    assert torch.allclose(soft(score).sum(dim=1), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("score", [[[21.3, 20.1]], [[-0.1, 0.5]], [[float("nan"), 0.5]]])
def test_soft_labels_refuse_scores_that_are_no_probabilities(score: list[list[float]]) -> None:
    with pytest.raises(ConfigError, match=r"parts\.label") as caught:
        soft(torch.tensor(score))
    assert "parts.label: hard" in str(caught.value)


def test_permuting_images_permutes_labels() -> None:
    score = torch.tensor([[0.2, 0.9, 0.4]])
    for label in (hard, soft):
        assert torch.equal(label(score.flip(1)), label(score).flip(1))
