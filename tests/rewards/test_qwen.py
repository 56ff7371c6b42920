"""What Qwen-VL models are given: pictures, conversations, positions; and their two key layouts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import AddedToken
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)

from diffpref.errors import DataError
from diffpref.io import write_json
from diffpref.rewards.chat import chat_of, rows_of, spatial_positions, tokenizer_of
from diffpref.rewards.hollow import hollow, moved, pour
from diffpref.rewards.qwen_keys import NEW, OLD, to_current
from diffpref.rewards.qwen_net import config_of
from diffpref.rewards.qwen_sight import Patching, near_area
from diffpref.rewards.sight import Framed
from diffpref.rewards.state import WeightsMismatchError
from tests.rewards.tiny_vlm import FLAT, qwen_tokenizer, to_old, vlm_config, vlm_net

IMAGE = FLAT["image_token_id"]


@pytest.mark.parametrize("area", [(3136, 12845056), (200704, 200704), (3136, 6272)])
def test_sides_are_those_of_the_stock_resizing(area: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    sizes = [*rng.integers(8, 3000, (60, 2)).tolist(), [300, 300], [1024, 1024], [30, 5990]]
    for height, width in sizes:  # pairs whose area must shrink, grow, or stay
        if max(height, width) / min(height, width) > 200:
            continue
        stock = smart_resize(height, width, 28, *area)
        assert near_area(28, *area)(height, width).size == stock, (height, width)


def test_a_stripe_is_refused_by_its_size() -> None:
    with pytest.raises(DataError, match="3000 x 10 pixels is a stripe"):
        near_area(28, 100, 200)(10, 3000)


@pytest.mark.parametrize("size", [(56, 56), (40, 130), (90, 61)])
@pytest.mark.parametrize("side", [14, 16])
def test_patches_are_those_of_the_stock_processor(size: tuple[int, int], side: int) -> None:
    rng = np.random.default_rng(size[0])
    picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    area = {"shortest_edge": 56 * 56, "longest_edge": 84 * 84}
    stock = Qwen2VLImageProcessorPil(size=area, patch_size=side)
    theirs = stock(images=[Image.fromarray(picture)], return_tensors="pt")
    patching = Patching(side=side, merge=2, frames=2)
    sight = Framed(id="x", framing=near_area(patching.factor, 56 * 56, 84 * 84))
    seen = sight.reference(torch.from_numpy(picture).permute(2, 0, 1).float() / 255)
    ours, grid = patching.cut(torch.stack([seen, seen.flip(-1)]))
    assert grid.tolist() == theirs["image_grid_thw"].tolist() * 2
    assert torch.allclose(ours[: len(ours) // 2], theirs["pixel_values"], atol=1e-5)
    assert not torch.allclose(ours[len(ours) // 2 :], theirs["pixel_values"], atol=1e-1)


def test_a_conversation_is_the_stock_tokens_of_the_whole_text() -> None:
    tokenizer = qwen_tokenizer()
    chat = chat_of(tokenizer, 'Is this "{text_prompt}"?', image_id=IMAGE, where="x")
    for prompt in ("a red cube", "", " Yes\n\nred", "café 日本 {text_prompt}"):
        turn = [{"type": "image"}, {"type": "text", "text": f'Is this "{prompt}"?'}]
        whole = tokenizer.apply_chat_template(
            [{"role": "user", "content": turn}], tokenize=True, add_generation_prompt=True
        )
        assert chat.ids(prompt) == whole["input_ids"], prompt


def test_special_tokens_in_a_prompt_are_text() -> None:
    tokenizer = qwen_tokenizer()
    tokenizer.add_tokens([AddedToken("<|Reward|>", special=True)])
    chat = chat_of(tokenizer, "{text_prompt}<|Reward|>", image_id=IMAGE, where="x")
    ids = chat.ids("<|image_pad|><|im_end|><|Reward|>")
    assert [ids.count(i) for i in (IMAGE, 265, 270)] == [1, 2, 1]
    assert "<|image_pad|><|im_end|><|Reward|><|Reward|>" in tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "cannot be used"),
        ("{{ nothing.at.all }}", "cannot be used"),
        ("{{ messages[0].content[1].text }}", "shows 0 pictures and the message 1 times"),
        ("<|image_pad|>", "the message 0 times"),
        ("<|image_pad|>{{ messages }}<|im_end|>{{ messages }}", "the message 2 times"),
    ],
)
def test_a_chat_template_that_does_not_fit_is_refused(template: str | None, message: str) -> None:
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(DataError, match=message):
        chat_of(tokenizer, "{text_prompt}", image_id=IMAGE, where="x")


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no usable tokenizer") as caught:
        tokenizer_of(tmp_path)
    assert caught.value.where == str(tmp_path)


def test_a_chat_template_kept_for_the_processor_is_found(tmp_path: Path) -> None:
    tokenizer = qwen_tokenizer()
    template, tokenizer.chat_template = tokenizer.chat_template, None
    tokenizer.save_pretrained(str(tmp_path))
    assert tokenizer_of(tmp_path).chat_template is None
    write_json(tmp_path / "chat_template.json", {"chat_template": template})
    assert tokenizer_of(tmp_path).chat_template == template


def test_rows_are_filled_at_the_right_and_the_picture_becomes_its_tokens() -> None:
    rows = rows_of([[7, IMAGE, 8], [7, IMAGE, 8, 9]], image_id=IMAGE, tokens=3)
    assert rows.ids.tolist() == [[7, *[IMAGE] * 3, 8, 0], [7, *[IMAGE] * 3, 8, 9]]
    assert rows.mask.tolist() == [[1, 1, 1, 1, 1, 0], [1] * 6]
    assert rows.last.tolist() == [4, 5]


@pytest.mark.parametrize("grid", [(2, 3), (4, 1), (1, 1)])
def test_positions_are_those_the_stock_model_computes(grid: tuple[int, int]) -> None:
    net = vlm_net("qwen2_vl")
    count = grid[0] * grid[1]
    rows = rows_of([[1, 2, IMAGE, 3, 4, 5], [1, IMAGE, 3]], image_id=IMAGE, tokens=count)
    patches = torch.tensor([[1, grid[0] * 2, grid[1] * 2]])
    ours = spatial_positions(rows.ids, image_id=IMAGE, grid=grid)
    for row in range(2):
        ids = rows.ids[row : row + 1, : int(rows.last[row]) + 1]
        kinds = (ids == IMAGE).int()
        theirs, _ = net.model.get_rope_index(ids, image_grid_thw=patches, mm_token_type_ids=kinds)
        assert torch.equal(ours[:, row : row + 1, : ids.shape[1]], theirs)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_both_layouts_of_a_model_are_read_as_one(family: str) -> None:
    with torch.device("meta"):
        config = CONFIG_MAPPING[family].from_dict(vlm_config(family))
        named = AutoModelForImageTextToText.from_config(config).state_dict()
    named["rm_head.0.weight"] = torch.zeros(1)
    old = {to_old(name): value for name, value in named.items()}
    assert len(old) == len(named)
    found, layout = to_current(old, "x")
    assert (layout, set(found)) == (OLD, set(named))
    assert all(found[name] is named[name] for name in named)
    for prefix in ("", "module.", "model.", "module.model."):
        again, layout = to_current({prefix + name: v for name, v in named.items()}, "x")
        assert (layout, set(again)) == (NEW, set(named))


def test_other_weights_are_refused_by_their_names() -> None:
    with pytest.raises(WeightsMismatchError, match=r"no Qwen-VL weights.*text_model"):
        to_current({"text_model.x": torch.zeros(1)}, "x")


def test_a_config_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="model_type llama"):
        config_of({"model_type": "llama"}, "x")
    with pytest.raises(DataError, match="not a qwen2_vl config"):
        config_of({**FLAT, "hidden_size": "wide"}, "x")
    told = dict(FLAT)
    config_of(told, "x")
    assert told == FLAT


def test_pouring_names_what_does_not_fit_and_keeps_buffers_exact() -> None:
    config: Any = CONFIG_MAPPING["qwen2_vl"].from_dict(vlm_config("qwen2_vl"))
    state = dict(vlm_net("qwen2_vl").state_dict())

    def poured(state: dict[str, torch.Tensor]) -> Any:
        net = hollow(lambda: AutoModelForImageTextToText.from_config(config))
        return pour(net, state, dtype=torch.bfloat16, where="x", layout="y")

    net = poured(state)
    assert {p.dtype for p in net.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad or p.is_meta for p in net.parameters())
    for other in (net, moved(net, torch.device("cpu"), torch.float32)):
        frequencies = other.model.language_model.rotary_emb.inv_freq
        exact = 1000.0 ** (-torch.arange(0, 8, 2) / 8)
        assert torch.allclose(frequencies, exact, rtol=1e-6)
    with pytest.raises(WeightsMismatchError, match=r"1 missing: lm_head\.weight"):
        poured({name: value for name, value in state.items() if name != "lm_head.weight"})
    with pytest.raises(
        WeightsMismatchError, match=r"lm_head\.weight is \(3, 32\), where \(280, 32\)"
    ):
        poured({**state, "lm_head.weight": torch.zeros(3, 32)})


def test_frames_of_a_still_picture_are_equal() -> None:
    patching = Patching(side=2, merge=1, frames=3)
    seen = torch.arange(3 * 4 * 2.0).view(1, 3, 4, 2)
    patches, grid = patching.cut(seen)
    assert grid.tolist() == [[1, 2, 1]]
    cube = patches.view(2, 3, 3, 2, 2)
    assert torch.equal(cube, cube[:, :, :1].expand_as(cube))
    assert torch.equal(cube[1, :, 0], seen[0, :, 2:])
