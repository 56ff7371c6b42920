"""The contract every scorer keeps, checked on each of them."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from diffpref.cli import main
from diffpref.errors import DataError, UsageError
from diffpref.evaluate.pictures import png, to_bytes
from diffpref.rewards import SCORERS, LoadedScorer, load_scorer
from diffpref.rewards.model import ScoringModel
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


OTHERWISE_BUILT = {"clipscore:dpo-vith", "hpsv2:2023", "vqascore:vlm"}
"""Variants that differ from their scorer's first one by more than the weights."""


def each_kind() -> list[str]:
    """Return every scorer once, and the variants that are built otherwise."""
    firsts = {f"{name}:{card.variants[0]}" for name, card in SCORERS.items() if card.variants}
    return [each for each in ids() if ":" not in each or each in firsts | OTHERWISE_BUILT]


each_kind_of_scorer = pytest.mark.parametrize("scorer", each_kind(), indirect=True)

PLACED_BY_HAND = {"head", "profile"}
"""Scorers with a small head that stays on the CPU in its own precision, beside the embedder."""


def weights_of(thing: object, seen: set[int] | None = None) -> Iterator[Tensor]:
    """Yield every tensor that a scorer holds, inside networks and beside them."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    inner: list[object] = []
    if isinstance(thing, nn.Module):
        inner = [*thing.parameters(), *thing.buffers()]
    elif isinstance(thing, Tensor):
        yield thing
    elif is_dataclass(thing):
        inner = [getattr(thing, field.name) for field in fields(thing)]
    elif isinstance(thing, dict):
        inner = list(thing.values())
    elif isinstance(thing, tuple | list):
        inner = list(thing)
    for each in inner:
        yield from weights_of(each, seen)


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


@each_kind_of_scorer
def test_the_gradient_is_the_slope_of_the_reward(scorer: LoadedScorer, pictures: Tensor) -> None:
    if not scorer.info.differentiable:
        return
    pixels = (pictures * 0.8 + 0.1).requires_grad_()  # inside [0, 1], where nothing is clamped
    (grad,) = torch.autograd.grad(scorer.reward(pixels, PROMPTS).sum(), pixels)
    steep = grad.flatten(1).norm(dim=1)
    step = 0.01 * grad / steep[:, None, None, None]
    with torch.no_grad():
        up = scorer.reward(pixels + step, PROMPTS).double()
        down = scorer.reward(pixels - step, PROMPTS).double()
    assert torch.allclose((up - down) / 0.02, steep.double(), rtol=0.04)


@each_kind_of_scorer
def test_networks_are_frozen(scorer: LoadedScorer, pictures: Tensor) -> None:
    weights = list(weights_of(scorer.model))
    assert not any(each.requires_grad for each in weights)
    if not scorer.info.differentiable:
        return
    before = [each.clone() for each in weights]
    pixels = pictures.clone().requires_grad_()
    torch.autograd.backward(scorer.reward(pixels, PROMPTS).sum())
    assert all(each.grad is None for each in weights)
    assert all(map(torch.equal, before, weights))


def test_scoring_twice_gives_the_same_numbers(scorer: LoadedScorer, pictures: Tensor) -> None:
    first = scorer.score(pictures, PROMPTS).values
    assert torch.equal(first, scorer.score(pictures, PROMPTS).values)


@each_kind_of_scorer
def test_half_the_precision_gives_close_scores_and_leaves_the_scorer_alone(
    scorer: LoadedScorer, pictures: Tensor
) -> None:
    whole = scorer.score(pictures, PROMPTS).values
    half = scorer.to(dtype=torch.bfloat16)
    found = half.score(pictures, PROMPTS).values
    assert found.dtype == torch.float32
    assert torch.allclose(found, whole, rtol=0.05, atol=0.05 * float(whole.abs().max()))
    kinds = {each.dtype for each in weights_of(half.model) if each.is_floating_point()}
    assert (torch.bfloat16 in kinds) == bool(kinds)
    assert torch.equal(scorer.score(pictures, PROMPTS).values, whole)


@each_kind_of_scorer
def test_a_scorer_is_loaded_and_computes_where_it_is_told_to(
    scorer: LoadedScorer, pictures: Tensor, weights_dir: Path, reward_folder: Path
) -> None:
    """The meta device stands for another one: a tensor left on the CPU does not go with it."""
    name = scorer.info.id
    weights = str(reward_folder) if name == "world-reward" else None
    there = load_scorer(
        name, weights=weights, weights_dir=weights_dir, published=False, device="meta", dtype="bf16"
    )
    for moved in (there, scorer.to("meta", torch.bfloat16)):
        held = [each for each in weights_of(moved.model) if each.is_floating_point()]
        away = [each for each in held if each.is_meta]
        assert len(away) == len(held) or scorer.info.name in PLACED_BY_HAND
        assert (torch.bfloat16 in {each.dtype for each in away}) == bool(held)
    model = there.model
    assert isinstance(model, ScoringModel)
    if not away:
        return
    try:
        model.judge(model.sight.smooth(pictures), PROMPTS)
    except (RuntimeError, NotImplementedError) as error:
        # a network that asks for a value, such as a prompt's length, finds none on this device
        assert "meta tensor" in str(error)  # noqa: PT017


@pytest.fixture(scope="module")
def written(
    weights_dir: Path,
    reward_folder: Path,
    pictures: Tensor,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[dict[str, dict[str, float]]]:
    """What `diffpref score` writes of the pictures, by every kind of scorer in one run."""
    folder = tmp_path_factory.mktemp("images")
    for number, (picture, prompt) in enumerate(zip(pictures, PROMPTS, strict=True)):
        (folder / f"{number}.png").write_bytes(png(to_bytes(picture), {"prompt": prompt}))
    told = ["--scorer", ",".join(each_kind()), "--weights-dir", str(weights_dir), "--any-size"]
    told += ["--weights", f"world-reward={reward_folder}", "--device", "cpu"]
    out = folder / "scores.json"
    assert main(["score", str(folder), *told, "--out", str(out)]) == 0
    images = json.loads(out.read_text(encoding="utf-8"))["images"]
    assert [each["prompt"] for each in images] == [*PROMPTS]
    return images


@each_kind_of_scorer
def test_the_command_line_gives_the_scorers_own_scores(
    scorer: LoadedScorer, written: list[dict[str, dict[str, float]]], pictures: Tensor
) -> None:
    expected = scorer.score((pictures * 255).round() / 255, PROMPTS).values  # as a PNG holds them
    found = torch.tensor([each["scores"][scorer.info.id] for each in written])
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


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
