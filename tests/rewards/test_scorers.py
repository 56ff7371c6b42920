"""The contract every scorer keeps, checked on each of them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffpref.errors import DataError, UsageError
from diffpref.rewards import SCORERS, LoadedScorer, load_scorer
from diffpref.types import Scorer
from tests.rewards.conftest import PROMPTS

ONLY_COMPARE = {"vlm-judge:pairwise"}
"""Variants without scores, which have tests of their own."""


def ids() -> list[str]:
    """Return every scorer with every variant that scores."""
    every = [
        f"{name}:{variant}" if variant else name
        for name, card in SCORERS.items()
        for variant in card.variants or ("",)
    ]
    return [each for each in every if each not in ONLY_COMPARE]


@pytest.fixture(params=ids(), scope="module")
def scorer(request: pytest.FixtureRequest, weights_dir: Path, reward_folder: Path) -> LoadedScorer:
    weights = str(reward_folder) if request.param == "world-reward" else None
    return load_scorer(request.param, weights=weights, weights_dir=weights_dir, published=False)


def test_results_keep_the_order_and_do_not_depend_on_the_batch(
    scorer: LoadedScorer, pictures: Tensor
) -> None:
    whole = scorer.score(pictures, PROMPTS)
    split = scorer.score(pictures, PROMPTS, batch_size=3)
    back = scorer.score(pictures.flip(0), PROMPTS[::-1])
    assert torch.allclose(whole.values, split.values, atol=1e-5)
    assert torch.allclose(whole.values, back.values.flip(0), atol=1e-5)
    assert whole.values.dtype == torch.float32
    assert whole.info.id in ids()


def test_one_prompt_is_every_images_prompt(scorer: LoadedScorer, pictures: Tensor) -> None:
    once = scorer.score(pictures, PROMPTS[0]).values
    assert torch.equal(once, scorer.score(pictures, [PROMPTS[0]] * 4).values)


def test_the_diagonal_of_the_matrix_is_the_score(scorer: LoadedScorer, pictures: Tensor) -> None:
    matrix = scorer.score_matrix(pictures, PROMPTS)
    assert matrix.shape == (4, 4)
    assert torch.allclose(matrix.diagonal(), scorer.score(pictures, PROMPTS).values, atol=1e-4)
    assert torch.allclose(matrix[1], scorer.score(pictures, PROMPTS[1]).values, atol=1e-4)


def test_choices_are_the_softmax_of_scores_over_the_temperature(
    scorer: LoadedScorer, pictures: Tensor
) -> None:
    scores = scorer.score(pictures, PROMPTS[0]).values.double()
    chances = scorer.compare(PROMPTS[0], pictures).double()
    assert float(chances.sum()) == pytest.approx(1)
    expected = (scores[0] - scores[1]) / scorer.info.temperature
    assert float((chances[0] / chances[1]).log()) == pytest.approx(float(expected), abs=1e-3)
    assert scorer.rank(PROMPTS[0], pictures)[0] == int(scores.argmax())
    sharp = scorer.compare(PROMPTS[0], pictures, temperature=1e-3)
    assert float(sharp.max()) > float(chances.max())


def test_equal_images_rank_in_their_own_order(scorer: LoadedScorer, pictures: Tensor) -> None:
    assert scorer.rank(PROMPTS[0], pictures[:1].repeat(3, 1, 1, 1)) == [0, 1, 2]


def test_a_scorer_is_a_function_of_pixels_and_prompts(
    scorer: LoadedScorer, pictures: Tensor
) -> None:
    assert isinstance(scorer, Scorer)
    values = scorer(pictures, PROMPTS)
    smooth = scorer.score(pictures, PROMPTS, path="smooth").values
    assert torch.allclose(values, smooth, rtol=1e-5, atol=1e-5)
    assert scorer.eval() is scorer


def test_a_reward_has_a_gradient_or_says_that_it_has_none(
    scorer: LoadedScorer, pictures: Tensor
) -> None:
    pixels = pictures.clone().requires_grad_()
    if not scorer.info.differentiable:
        with pytest.raises(UsageError, match="is not differentiable"):
            scorer.reward(pixels, PROMPTS)
        return
    torch.autograd.backward(scorer.reward(pixels, PROMPTS).sum())
    assert pixels.grad is not None
    assert bool(torch.isfinite(pixels.grad).all())
    assert float(pixels.grad.abs().amax(dim=(1, 2, 3)).min()) > 0


def test_no_images_give_no_scores(scorer: LoadedScorer) -> None:
    found = scorer.score([], [])
    assert (found.values.shape, found.flags) == ((0,), ())


def test_numbers_that_do_not_match_are_refused(scorer: LoadedScorer, pictures: Tensor) -> None:
    with pytest.raises(DataError, match="3 prompts for 4 images"):
        scorer.score(pictures, PROMPTS[:3])
    with pytest.raises(DataError) as caught:
        scorer.score(pictures, PROMPTS[:2])
    assert "images_per_prompt=2" in str(caught.value)


def test_images_per_prompt_repeats_each_prompt(scorer: LoadedScorer, pictures: Tensor) -> None:
    grouped = scorer.score(pictures, PROMPTS[:2], images_per_prompt=2).values
    told = [PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1]]
    assert torch.equal(grouped, scorer.score(pictures, told).values)


def test_progress_counts_the_images(scorer: LoadedScorer, pictures: Tensor) -> None:
    seen: list[tuple[int, int | None]] = []
    scorer.score(
        pictures,
        PROMPTS,
        batch_size=3,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(3, 4), (4, 4)]


def test_another_precision_and_device_give_close_scores(
    reward_folder: Path, pictures: Tensor
) -> None:
    whole = load_scorer("world-reward", weights=str(reward_folder))
    half = whole.to("cpu", torch.bfloat16)
    found = half.score(pictures, PROMPTS).values
    assert torch.allclose(found, whole.score(pictures, PROMPTS).values, atol=0.5)
    again = load_scorer("world-reward", weights=str(reward_folder), dtype="bf16")
    assert torch.equal(found, again.score(pictures, PROMPTS).values)


def test_the_scorers_network_is_frozen(reward_folder: Path, pictures: Tensor) -> None:
    scorer = load_scorer("world-reward", weights=str(reward_folder))
    assert not scorer.reward(pictures, PROMPTS).requires_grad


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("world-orcale", "did you mean 'world-oracle'"),
        ("world-oracle:hard", "has no variant 'hard'"),
    ],
)
def test_an_unknown_scorer_gives_the_nearest_one(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_scorer(name)
    assert message in str(caught.value)


def test_weights_and_precision_are_checked() -> None:
    with pytest.raises(UsageError, match="has no weights"):
        load_scorer("world-fidelity", weights="x")
    with pytest.raises(UsageError, match="is not a precision"):
        load_scorer("world-oracle", dtype="int8")
