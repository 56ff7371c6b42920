"""ImageReward, BLIP-ITM and BLIP-ITC: their formulas, sights and gradients."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    Normalize,
    Resize,
    ToTensor,
)

from diffpref.io import safe_load_weights
from diffpref.rewards import LoadedScorer, load_scorer
from diffpref.rewards.blip_scorers import FusionModel, cut, squashed
from diffpref.rewards.cards.blip import DEVIATION, MEAN
from diffpref.rewards.clip import TwoTowerModel
from diffpref.rewards.inputs import one_picture
from diffpref.rewards.sight import CLIP_MEAN, CLIP_STD
from diffpref.rewards.state import State, under
from tests.rewards import naive_blip
from tests.rewards.blip_shapes import TINY_SIZE
from tests.rewards.conftest import PROMPTS
from tests.rewards.test_sight import picture

SIDE = TINY_SIZE.grid * TINY_SIZE.patch
SIZES = [(224, 224), (384, 384), (512, 512), (640, 427), (427, 640), (227, 225), (300, 1000)]
SIZES += [(37, 91), (224, 160), (768, 511), (1000, 48), (16, 16)]


def load(name: str, folder: Path) -> LoadedScorer:
    return load_scorer(name, weights_dir=folder, published=False)


def seen_by(scorer: LoadedScorer, pictures: Tensor) -> Tensor:
    return torch.stack([scorer.model.sight.reference(each) for each in pictures])


def ids_of(scorer: LoadedScorer, prompt: str) -> list[int]:
    assert isinstance(scorer.model, FusionModel | TwoTowerModel)
    row = scorer.model.tokenizer.ids([prompt])[0].tolist()
    return row[: row.index(3) + 1]


def test_imagereward_is_the_affine_map_of_the_first_words_state(
    weights_dir: Path, pictures: Tensor
) -> None:
    scorer = load("imagereward", weights_dir)
    state = safe_load_weights(weights_dir / "imagereward" / "ImageReward.pt")
    weight, bias = naive_blip.affine(state, (0, 2, 4, 6, 7))
    assert (weight.shape, bias.shape) == ((1, TINY_SIZE.text), (1,))
    expected = [
        (weight @ _fused(scorer, under(state, "blip."), image, prompt) + bias - MEAN) / DEVIATION
        for image, prompt in zip(pictures, PROMPTS, strict=True)
    ]
    found = scorer.score(pictures, PROMPTS).values.double()
    assert torch.allclose(found, torch.cat(expected), atol=1e-4)
    assert float(found.std()) > 0.1


def _fused(scorer: LoadedScorer, state: State, image: Tensor, prompt: str) -> Tensor:
    patches = naive_blip.look(state, seen_by(scorer, image[None])[0])
    return naive_blip.read(state, ids_of(scorer, prompt), patches)[0]


def test_imagerewards_constants_are_the_published_ones() -> None:
    assert (MEAN, DEVIATION) == (0.16717362830052426, 1.0333394966054072)


def test_a_difference_of_imagerewards_raw_output_is_the_log_odds_of_a_choice(
    weights_dir: Path, pictures: Tensor
) -> None:
    scorer = load("imagereward", weights_dir)
    scores = scorer.score(pictures, PROMPTS[0]).values.double()
    chances = scorer.compare(PROMPTS[0], pictures).double()
    raw = scores * DEVIATION + MEAN
    assert float((chances[0] / chances[1]).log()) == pytest.approx(float(raw[0] - raw[1]), abs=1e-3)


def test_itm_is_the_second_class_of_a_softmax(weights_dir: Path, pictures: Tensor) -> None:
    scorer = load("blip-itm:large-coco", weights_dir)
    path = weights_dir / "blip-itm" / "large-coco" / "model_large_retrieval_coco.pth"
    state = safe_load_weights(path, key="model")
    expected = [
        naive_blip.linear(state, "itm_head", _fused(scorer, state, image, prompt)).softmax(0)[1]
        for image, prompt in zip(pictures, PROMPTS, strict=True)
    ]
    found = scorer.score(pictures, PROMPTS).values.double()
    assert torch.allclose(found, torch.stack(expected), atol=1e-5)
    assert scorer.info.weights[0].layout == "salesforce"


def test_itc_is_the_cosine_of_words_read_without_the_image(
    weights_dir: Path, pictures: Tensor
) -> None:
    scorer = load("blip-itc:large-flickr", weights_dir)
    path = weights_dir / "blip-itc" / "large-flickr" / "model_large_retrieval_flickr.pth"
    state = safe_load_weights(path, key="model")
    seen = seen_by(scorer, pictures)
    for row, prompt in enumerate(PROMPTS):
        image = naive_blip.linear(state, "vision_proj", naive_blip.look(state, seen[row])[0])
        words = naive_blip.read(state, ids_of(scorer, prompt))[0]
        text = naive_blip.linear(state, "text_proj", words)
        expected = torch.nn.functional.cosine_similarity(image, text, dim=0)
        found = scorer.score(pictures[row], prompt).values.double()
        assert float(found) == pytest.approx(float(expected), abs=1e-5)


def test_transformers_folders_and_the_old_files_are_both_read(weights_dir: Path) -> None:
    layouts = {
        name: load(f"blip-itm:{name}", weights_dir).info.weights[0].layout
        for name in ("large-coco", "base-coco")
    }
    assert layouts == {"large-coco": "salesforce", "base-coco": "transformers"}
    assert load("blip-itm", weights_dir).info.id == "blip-itm:large-coco"


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_prepared_as_the_released_transforms_do(size: tuple[int, int]) -> None:
    image, bicubic = picture(size), InterpolationMode.BICUBIC
    last = (ToTensor(), Normalize(CLIP_MEAN, CLIP_STD))
    for ours, theirs in (
        (cut(224), Compose([Resize(224, bicubic), CenterCrop(224), *last])),
        (squashed(384), Compose([Resize((384, 384), bicubic), *last])),
    ):
        told = torch.as_tensor(theirs(image))
        assert torch.allclose(ours.reference(one_picture(image, 0)), told, atol=1e-6), ours.id


def test_grey_and_palette_pictures_are_prepared_as_their_colours() -> None:
    image = picture((40, 50)).quantize(16)
    for kind in (image, image.convert("L")):
        told = squashed(32).reference(one_picture(kind.convert("RGB"), 0))
        assert torch.equal(squashed(32).reference(one_picture(kind, 0)), told)


@pytest.mark.parametrize(
    ("name", "preprocess"),
    [
        ("imagereward", f"pillow/{SIDE}/torchvision-centre"),
        ("blip-itm:base-coco", f"pillow/{SIDE}/squashed"),
        ("blip-itc:base-coco", f"pillow/{SIDE}/squashed"),
        ("blip-itc:blipscore", f"pillow/{SIDE}/torchvision-centre"),
    ],
)
def test_each_scorer_has_its_published_sight(
    name: str, preprocess: str, weights_dir: Path, pictures: Tensor
) -> None:
    scorer = load(name, weights_dir)
    assert scorer.info.preprocess_id == preprocess
    wide = torch.nn.functional.interpolate(pictures[:1], size=(SIDE, 2 * SIDE))
    middle = wide[..., SIDE // 2 : SIDE // 2 + SIDE]
    same = torch.equal(scorer.score(wide, "red").values, scorer.score(middle, "red").values)
    assert same == ("centre" in preprocess)


@pytest.mark.parametrize("name", ["imagereward", "blip-itm:base-coco", "blip-itc:blipscore"])
def test_the_gradient_is_that_of_finite_differences(
    name: str, weights_dir: Path, pictures: Tensor
) -> None:
    scorer = load(name, weights_dir).to(dtype=torch.float64)
    # larger than what is seen, so that the resizing is differentiated, and away from black and
    # white, where overshoot is cut
    start = torch.nn.functional.interpolate(pictures[:2], size=(40, 44)) * 0.5 + 0.25
    pixels = start.clone().requires_grad_()
    torch.autograd.backward(scorer.reward(pixels, PROMPTS[:2]).sum())
    assert pixels.grad is not None
    way = torch.randn(start.shape, generator=torch.Generator().manual_seed(3))
    step = 3e-4
    ahead, behind = (scorer.reward(start + s * step * way, PROMPTS[:2]) for s in (1, -1))
    expected = ((ahead - behind) / (2 * step)).sum()
    found = (pixels.grad * way).sum()
    assert float(found) == pytest.approx(float(expected), rel=2e-3)
    assert abs(float(expected)) > 1e-2


def test_other_precision_keeps_the_head_in_float32(weights_dir: Path, pictures: Tensor) -> None:
    whole = load("imagereward", weights_dir)
    half = load_scorer("imagereward", weights_dir=weights_dir, published=False, dtype="bf16")
    found = half.score(pictures, PROMPTS).values
    assert torch.allclose(found, whole.score(pictures, PROMPTS).values, atol=0.3)
    assert torch.equal(found, whole.to(dtype=torch.bfloat16).score(pictures, PROMPTS).values)
    assert isinstance(half.model, FusionModel)
    kinds = {name: value.dtype for name, value in half.model.net.state_dict().items()}
    assert kinds["head.0.weight"] == torch.float32
    assert kinds["vision_proj.weight"] == torch.bfloat16


def test_prompts_of_different_length_do_not_touch_each_other(
    weights_dir: Path, pictures: Tensor
) -> None:
    prompts = ["", "red", "two small red circles on the left " * 6, "some blue things"]
    for name in ("imagereward", "blip-itm", "blip-itc"):
        scorer = load(name, weights_dir)
        alone = [scorer.score(pictures[i], prompts[i]).values for i in range(4)]
        assert torch.allclose(scorer.score(pictures, prompts).values, torch.cat(alone), atol=1e-5)
