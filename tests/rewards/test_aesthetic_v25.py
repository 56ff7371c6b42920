"""The predictor v2.5 against transformers' SigLIP and the collapsed head, layout by layout."""

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from diffpref.errors import UnsafeFileError
from diffpref.io import safe_load_weights, save_tensors
from diffpref.rewards import SCORERS, LoadedScorer, load_scorer, siglip
from diffpref.rewards.aesthetic import AestheticModel
from diffpref.rewards.affine_head import load_affine_head
from diffpref.rewards.cards.aesthetic import HEAD, SIGLIP_VISION
from diffpref.rewards.siglip import config_of, host_siglip, tower_state
from diffpref.rewards.state import State, Stored, WeightsMismatchError
from tests.rewards.conftest import PROMPTS
from tests.rewards.tiny_mps import (
    WIDTHS,
    saved_on_a_gpu,
    siglip_net,
    v25_head,
    whole_siglip,
    write_siglip,
)


@pytest.fixture(scope="module")
def scorer(weights_dir: Path) -> LoadedScorer:
    return load_scorer("aesthetic-v2.5", weights_dir=weights_dir, published=False)


@pytest.fixture(scope="module")
def model(scorer: LoadedScorer) -> AestheticModel:
    assert isinstance(scorer.model, AestheticModel)
    return scorer.model


@pytest.fixture(scope="module")
def seen() -> Tensor:
    return torch.randn(4, 3, 30, 30, generator=torch.Generator().manual_seed(1))


def collapsed() -> tuple[Tensor, Tensor]:
    """Return the head as one row and one number, in float64."""
    state = {name: value.double() for name, value in v25_head().items()}
    row, number = torch.eye(WIDTHS[0]).double(), torch.zeros(WIDTHS[0]).double()
    for layer in (0, 2, 4, 6, 8):
        weight, bias = (state[f"scoring_head.{layer}.{kind}"] for kind in ("weight", "bias"))
        row, number = weight @ row, weight @ number + bias
    return row[0], number


def expected(features: Tensor) -> Tensor:
    row, number = collapsed()
    return features.double() / features.double().norm(dim=1, keepdim=True) @ row + number


def test_scores_are_the_collapsed_head_on_transformers_pooled_output(
    model: AestheticModel, seen: Tensor
) -> None:
    with torch.no_grad():
        stock = siglip_net()(pixel_values=seen)
    ours = model.judge(seen, ("",) * 4)
    assert torch.allclose(ours.double(), expected(stock.pooler_output), atol=1e-5)
    assert ours.dtype == torch.float32
    spread = float(ours.max() - ours.min())
    mean = expected(stock.last_hidden_state.mean(dim=1))
    row, number = collapsed()
    whole = stock.pooler_output.double() @ row + number
    for wrong in (mean, whole):
        assert float((ours.double() - wrong).abs().min()) > 0.05 * spread


def test_the_prompt_is_ignored_and_never_too_long(scorer: LoadedScorer, pictures: Tensor) -> None:
    found = scorer.score(pictures, "cat " * 90)
    assert torch.equal(found.values, scorer.score(pictures, PROMPTS).values)
    assert found.flags == ((),) * 4
    assert not scorer.info.needs_prompt
    assert scorer.info.preprocess_id == "pillow/30/squash"


def vision(prefix: str, **beside: Tensor) -> State:
    state = siglip_net().state_dict()
    return {prefix + name: value for name, value in state.items()} | beside


LAYOUTS = {
    "siglip": lambda: dict(whole_siglip().state_dict()),
    "siglip-vision": lambda: vision("vision_model."),
    "siglip-vision-bare": lambda: vision(""),
    "a wrapper": lambda: vision("module.vision_model."),
    "old buffers": lambda: vision(
        "vision_model.", **{"vision_model.embeddings.position_ids": torch.arange(4)[None]}
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_of_the_tower_gives_the_same_scores(
    scorer: LoadedScorer, pictures: Tensor, weights_dir: Path, tmp_path: Path, name: str
) -> None:
    write_siglip(tmp_path / "tower", LAYOUTS[name]())
    weights = {
        "head": str(weights_dir / "aesthetic-v2.5" / "head"),
        "backbone": str(tmp_path / "tower"),
    }
    found = load_scorer("aesthetic-v2.5", weights=weights, published=False)
    expected = scorer.score(pictures, PROMPTS).values
    assert torch.equal(found.score(pictures, PROMPTS).values, expected)
    layout = found.info.weights[1].layout
    assert layout == (name if name.startswith("siglip") else "siglip-vision")


class Nested(nn.Module):
    """The tower's class as releases of transformers had it that name it `vision_model` inside."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        self.vision_model = SiglipVisionModel(config)

    def forward(self, pixel_values: Tensor) -> object:
        return self.vision_model(pixel_values=pixel_values)


def test_releases_that_keep_the_prefix_inside_are_filled_too(
    monkeypatch: pytest.MonkeyPatch, model: AestheticModel, seen: Tensor
) -> None:
    monkeypatch.setattr(siglip, "SiglipVisionModel", Nested)
    config = {"image_size": 30, "num_attention_heads": 2}
    tower, _ = host_siglip(stored(vision(""), vision_config=config), None)
    assert isinstance(tower.tower, Nested)
    assert torch.equal(tower.encode_image(seen), model.tower.encode_image(seen))


def test_the_heads_file_is_views_of_one_storage_and_loads_bit_for_bit(tmp_path: Path) -> None:
    state = v25_head()
    assert len({value.untyped_storage().data_ptr() for value in state.values()}) == 1
    (tmp_path / "a.pth").write_bytes(saved_on_a_gpu(state))
    loaded = safe_load_weights(tmp_path / "a.pth")
    assert list(loaded) == list(state)
    for name, value in state.items():
        assert loaded[name].dtype == torch.bfloat16
        assert torch.equal(loaded[name], value)
        assert loaded[name].device.type == "cpu"
    assert len({value.untyped_storage().data_ptr() for value in loaded.values()}) == 1


def test_many_views_of_one_storage_cannot_fill_the_memory(tmp_path: Path) -> None:
    flat = torch.zeros(1000)
    torch.save({f"scoring_head.{n}.weight": flat.view(10, 100) for n in range(16)}, tmp_path / "a")
    assert len(safe_load_weights(tmp_path / "a")) == 16
    torch.save({f"scoring_head.{n}.weight": flat.view(10, 100) for n in range(17)}, tmp_path / "a")
    with pytest.raises(UnsafeFileError, match="more than 16 times over"):
        safe_load_weights(tmp_path / "a")


def stored(state: State, **config: object) -> Stored:
    return Stored(state=state, files=(), config=config, where="x")


def meta(shapes: dict[str, tuple[int, ...]]) -> State:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def test_the_full_size_tower_has_the_published_numbers() -> None:
    config = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=27,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
    )
    with torch.device("meta"):
        stock = SiglipVisionModel(config)
    state = {f"vision_model.{name}": value for name, value in stock.state_dict().items()}
    assert sum(value.numel() for value in state.values()) == SIGLIP_VISION == 428_225_600
    read = config_of(tower_state(state)[0], {}, where="x")
    told = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    for name in (*told, "image_size", "patch_size", "hidden_act", "layer_norm_eps"):
        assert getattr(read, name) == getattr(config, name), name
    tower, layout = host_siglip(stored(state), SIGLIP_VISION)
    assert (tower.side, tower.width, layout) == (384, 1152, "siglip-vision")
    with pytest.raises(WeightsMismatchError, match="428,225,600"):
        host_siglip(stored(vision("")), SIGLIP_VISION)


def test_the_full_size_head_has_the_published_numbers() -> None:
    widths = (1152, 1024, 128, 64, 16, 1)
    shapes: dict[str, tuple[int, ...]] = {}
    for place, (inputs, outputs) in enumerate(pairwise(widths)):
        shapes[f"scoring_head.{2 * place}.weight"] = (outputs, inputs)
        shapes[f"scoring_head.{2 * place}.bias"] = (outputs,)
    found = head_of(meta(shapes))
    assert sum(p.numel() for p in found.parameters()) == HEAD == 1_321_185
    assert SCORERS["aesthetic-v2.5"].part("head").parameters == HEAD
    bytes_of_the_published_file = 2_644_834
    assert 0 < bytes_of_the_published_file - 2 * HEAD < 4000  # bfloat16 and little else


def head_of(state: State) -> nn.Sequential:
    return load_affine_head(
        stored(state), prefix="scoring_head.", dropouts=(1, 3, 5, 7), other="give the other"
    )


def test_other_heads_are_refused_by_name() -> None:
    state = dict(v25_head())
    laion = {name.replace("scoring_head", "layers"): value for name, value in state.items()}
    with pytest.raises(WeightsMismatchError, match=r"its layers scoring_head.N are \[\]") as caught:
        head_of(laion)
    assert "give the other" in str(caught.value)
    renumbered = {name.replace(".8.", ".9."): value for name, value in state.items()}
    with pytest.raises(WeightsMismatchError, match=r"\[0, 2, 4, 6, 9\]"):
        head_of(renumbered)
    with pytest.raises(WeightsMismatchError, match=r"1 missing: scoring_head.4.bias"):
        head_of({name: value for name, value in state.items() if name != "scoring_head.4.bias"})
    with pytest.raises(WeightsMismatchError, match=r"1 unexpected: scoring_head.0.scale"):
        head_of(state | {"scoring_head.0.scale": torch.ones(1)})
    with pytest.raises(WeightsMismatchError, match="do not make one score"):
        head_of(state | {"scoring_head.4.weight": torch.ones(8, 5)})


def test_other_towers_are_refused_by_name(weights_dir: Path, tmp_path: Path) -> None:
    state = vision("")
    without = {name: value for name, value in state.items() if not name.startswith("head.")}
    with pytest.raises(WeightsMismatchError, match=r"missing: head\.attention"):
        host_siglip(stored(without), None)
    with pytest.raises(WeightsMismatchError, match=r"1 unexpected: visual\.proj"):
        host_siglip(stored(state | {"visual.proj": torch.ones(1)}), None)
    with pytest.raises(WeightsMismatchError, match=r"embeddings\.patch_embedding\.weight"):
        host_siglip(stored({"x": torch.ones(1)}), None)
    with pytest.raises(WeightsMismatchError, match="image_size 224, the weights have 2 x 2"):
        host_siglip(stored(state, vision_config={"image_size": 224}), None)
    narrow = OrderedDict(v25_head())
    narrow["scoring_head.0.weight"] = narrow["scoring_head.0.weight"][:, 1:].contiguous()
    torch.save(narrow, tmp_path / "head.pth")
    tower = str(weights_dir / "aesthetic-v2.5" / "backbone")
    weights = {"head": str(tmp_path / "head.pth"), "backbone": tower}
    with pytest.raises(WeightsMismatchError, match="have 72 numbers, the head reads 71"):
        load_scorer("aesthetic-v2.5", weights=weights, published=False)
    with pytest.raises(WeightsMismatchError, match="the published ones 1,321,185"):
        load_scorer("aesthetic-v2.5", weights_dir=weights_dir)


def test_weights_alone_give_the_side_their_patches_fill(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x.safetensors", vision(""))
    assert host_siglip(stored(safe_load_weights(tmp_path / "x.safetensors")), None)[0].side == 28
    flat = {"image_size": 30, "num_attention_heads": 2}  # as a vision model's own folder says it
    assert host_siglip(stored(vision(""), **flat), None)[0].side == 30


def test_the_reward_climbs_as_its_gradient_says(scorer: LoadedScorer, pictures: Tensor) -> None:
    pixels = pictures * 0.8 + 0.1
    x = pixels.clone().requires_grad_()
    torch.autograd.backward(scorer.reward(x, PROMPTS).sum())
    assert x.grad is not None
    size = 1e-2
    step = x.grad / x.grad.norm() * size
    ahead = scorer.reward(pixels + step, PROMPTS).double().sum()
    behind = scorer.reward(pixels - step, PROMPTS).double().sum()
    slope = float(x.grad.norm())
    assert slope > 0
    assert float(ahead - behind) == pytest.approx(2 * size * slope, rel=2e-2)


def test_half_precision_is_close(scorer: LoadedScorer, pictures: Tensor) -> None:
    half = scorer.to(dtype=torch.bfloat16).score(pictures, PROMPTS).values
    assert half.dtype == torch.float32
    assert 0 < float((half - scorer.score(pictures, PROMPTS).values).abs().max()) < 0.05
