"""VQAScore against stock T5, CLIP and Qwen-VL one by one, without batches or padding."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import T5Config, T5ForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from diffpref.errors import DataError
from diffpref.io import read_json, save_tensors, write_json
from diffpref.rewards import LoadedScorer, load_scorer, vqascore
from diffpref.rewards.clip_t5 import host
from diffpref.rewards.state import Stored, WeightsMismatchError
from diffpref.rewards.vqascore_vlm import yes_tokens
from tests.rewards.tiny_vlm import (
    qwen_tokenizer,
    t5_net,
    t5_projector,
    t5_state,
    t5_tokenizer,
    t5_tower,
    tower_state,
    vlm_net,
    write_vlm,
)

PROMPTS = ("a red cube", "", 'three "blue" discs <image> on the left of a very large square')
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@pytest.fixture(scope="module")
def pictures() -> list[Tensor]:
    """Pictures of two sizes; their pixels are 8-bit."""
    draw = torch.Generator().manual_seed(0)
    sizes = ((60, 90), (90, 60), (60, 90))
    return [torch.randint(0, 256, (3, *s), generator=draw).float() / 255 for s in sizes]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder per Qwen-VL family."""
    root = tmp_path_factory.mktemp("vlm")
    for family in FAMILIES:
        write_vlm(root / family, family)
    return {family: root / family for family in FAMILIES}


def loaded(name: str, weights_dir: Path | None = None, **told: Any) -> LoadedScorer:
    return load_scorer(name, weights_dir=weights_dir, published=False, **told)


def pil(picture: Tensor) -> Image.Image:
    return Image.fromarray((picture * 255).byte().permute(1, 2, 0).numpy())


def naive_features(picture: Tensor) -> Tensor:
    """Return what T5 reads of a picture: padded and resized by Pillow, one of two layers run."""
    image = pil(picture)
    edge = max(image.size)
    canvas = Image.new("RGB", (edge, edge), (122, 116, 104))
    canvas.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
    small = canvas.resize((56, 56), Image.Resampling.BICUBIC)
    pixels = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(56, 56, 3)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    seen = ((pixels.float() / 255 - mean) / std).permute(2, 0, 1)[None]
    tower: Any = t5_tower()
    states = tower.pre_layrnorm(tower.embeddings(seen))
    for layer in tower.encoder.layers[:1]:
        states = layer(states, attention_mask=None)
    first, _, second = t5_projector()
    states = functional.linear(states[0, 1:], first.weight, first.bias)
    return functional.linear(functional.gelu(states), second.weight, second.bias)


def naive(picture: Tensor, prompt: str) -> float:
    """Return sqrt(P(Yes) P(</s> | Yes)) by decoding one token after the other."""
    net, tokenizer = t5_net(), t5_tokenizer()
    system = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions."
    )
    asked = f'Does this figure show "{prompt}"? Please answer yes or no.'
    chunks = [tokenizer(text)["input_ids"] for text in (system + " USER: ", asked + " ASSISTANT: ")]
    assert [chunk.count(tokenizer.eos_token_id) for chunk in chunks] == [1, 1]
    ahead, behind = (net.shared(torch.tensor(chunk)) for chunk in chunks)
    rows = torch.cat([ahead, naive_features(picture), behind])[None]
    states = net.encoder(inputs_embeds=rows).last_hidden_state
    answer = tokenizer("Yes")["input_ids"]
    assert len(answer) == 2
    chance, said = 1.0, [0]
    for token in answer:
        step = net.decoder(input_ids=torch.tensor([said]), encoder_hidden_states=states)
        logits = step.last_hidden_state[0, -1] @ net.lm_head.weight[: len(tokenizer)].T
        chance *= float(logits.softmax(dim=0)[token])
        said.append(token)
    return chance**0.5


def naive_yes(family: str, picture: Tensor, prompt: str) -> float:
    """Return P(Yes) of the stock model, which computes its own positions."""
    net, tokenizer = vlm_net(family), qwen_tokenizer()
    told: dict[str, Any] = {"size": {"shortest_edge": 3136, "longest_edge": 6272}}
    if family == "qwen3_vl":
        told |= {"patch_size": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    seen = Qwen2VLImageProcessorPil(**told)(images=[pil(picture)], return_tensors="pt")
    count = int(seen["image_grid_thw"].prod()) // 4
    question = f'Does this figure show "{prompt}"? Please answer Yes or No.'
    text = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|>" + "<|image_pad|>" * count + "<|vision_end|>"
        f"{question}<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    kinds = (ids == net.config.image_token_id).int()
    logits = net(input_ids=ids, mm_token_type_ids=kinds, **seen).logits[0, -1]
    chances = logits.softmax(dim=0)
    words = [tokenizer.encode(word) for word in ("Yes", " Yes", "yes")]
    assert all(len(word) == 1 for word in words)
    return float(sum(chances[word[0]] for word in words))


def test_scores_are_the_stock_models_whatever_the_batch(
    weights_dir: Path, pictures: list[Tensor]
) -> None:
    expected = torch.tensor([naive(p, t) for p, t in zip(pictures, PROMPTS, strict=True)])
    assert float(expected.std() / expected.mean()) > 0.05
    assert 0 < float(expected.min()) < float(expected.max()) < 1
    for variant in ("xxl", "xl"):
        scorer = loaded(f"vqascore:{variant}", weights_dir)
        found = scorer.score(pictures, PROMPTS).values
        assert torch.allclose(found, expected, atol=1e-6), variant
        alone = scorer.score(pictures, PROMPTS, batch_size=1).values
        assert torch.allclose(found, alone, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_chance_of_yes_is_the_stock_models_whatever_the_batch(
    family: str, folders: dict[str, Path], pictures: list[Tensor]
) -> None:
    expected = torch.tensor(
        [naive_yes(family, p, t) for p, t in zip(pictures, PROMPTS, strict=True)]
    )
    assert float(expected.std()) > 1e-4
    scorer = loaded("vqascore:vlm", weights=str(folders[family]))
    found = scorer.score(pictures, PROMPTS).values
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(found, scorer.score(pictures, PROMPTS, batch_size=1).values, atol=1e-6)


def test_every_spelling_of_yes_that_is_one_token_counts() -> None:
    tokenizer = qwen_tokenizer()
    words = [tokenizer.encode(word)[0] for word in ("Yes", " Yes", "yes")]
    assert yes_tokens(tokenizer, "x") == tuple(sorted(words))
    with pytest.raises(DataError, match="no token of this tokenizer spells yes"):
        yes_tokens(lambda *_, **__: {"input_ids": [1, 2]}, "x")


def test_the_tower_in_the_checkpoint_is_used_before_the_one_apart() -> None:
    def apart() -> Stored:
        raise AssertionError("the tower is there already")

    stored = Stored(
        state=t5_state(tower=True), files=(), config=t5_net().config.to_dict(), where="x"
    )
    net, _ = host(stored, apart, words=len(t5_tokenizer()), dtype=torch.float32)
    assert net.side == 56
    seen = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(3))
    assert net.see(seen).shape == (1, 16, 32)


def test_the_full_model_loads_from_the_published_names() -> None:
    width, numbers = 4096, 11_135_332_352  # FLAN-T5 xxl
    fields = {"d_model": width, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
    fields |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    with torch.device("meta"):
        net = T5ForConditionalGeneration(T5Config(vocab_size=32128, **fields))
    state = dict(net.state_dict())
    distinct = {n: v for n, v in state.items() if not n.endswith("embed_tokens.weight")}
    assert sum(value.numel() for value in distinct.values()) == numbers
    for number, shape in ((0, (width, 1024)), (2, (width, width))):
        state[f"mm_projector.{number}.weight"] = torch.empty(shape, device="meta")
        state[f"mm_projector.{number}.bias"] = torch.empty(shape[:1], device="meta")
    stored = Stored(state=state, files=(), config={"model_type": "clip_t5", **fields}, where="x")
    tower = Stored(state=tower_state(""), files=(), config={}, where="y")
    found, _ = host(stored, lambda: tower, words=32100, dtype=torch.bfloat16)
    assert found.t5.lm_head.weight.shape == found.t5.shared.weight.shape == (32100, width)
    assert not found.t5.config.scale_decoder_outputs


def test_rows_no_token_uses_take_no_share(weights_dir: Path) -> None:
    model: Any = loaded("vqascore:xl", weights_dir).model
    assert model.net.t5.lm_head.weight.shape[0] == len(t5_tokenizer())
    net = t5_net()
    assert net.lm_head.weight.shape[0] == len(t5_tokenizer()) + 5


def test_a_prompt_longer_than_the_encoder_reads_is_cut_and_flagged(
    weights_dir: Path, pictures: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vqascore.CONTEXT == 2048
    monkeypatch.setattr(vqascore, "CONTEXT", 300)
    scorer = loaded("vqascore:xl", weights_dir)
    long = "x" * 300
    found = scorer.score(pictures[:2], [long, "a cube"])
    assert found.flags == (("truncated",), ())
    longer = scorer.score(pictures[:1], long + "and more").values
    assert torch.allclose(longer, found.values[:1], atol=1e-6)


@pytest.mark.parametrize("name", ["vqascore:xl", "vqascore:vlm"])
def test_the_gradient_of_the_reward_is_the_slope_of_the_score(name: str, weights_dir: Path) -> None:
    scorer = loaded(name, weights_dir)
    draw = torch.Generator().manual_seed(1)
    pixels = (0.3 + 0.4 * torch.rand(1, 3, 56, 56, generator=draw)).requires_grad_()
    (grad,) = torch.autograd.grad(scorer.reward(pixels, ("a cube",)).sum(), pixels)
    way, step = grad / grad.norm(), 0.05
    with torch.no_grad():
        ahead = scorer.reward(pixels + step * way, ("a cube",))
        behind = scorer.reward(pixels - step * way, ("a cube",))
    assert float((ahead - behind) / (2 * step)) == pytest.approx(float(grad.norm()), rel=0.05)


@pytest.mark.parametrize("name", ["vqascore:xl", "vqascore:vlm"])
def test_another_precision_gives_close_scores(
    name: str, weights_dir: Path, pictures: list[Tensor]
) -> None:
    whole = loaded(name, weights_dir)
    half = whole.to("cpu", torch.bfloat16).score(pictures, PROMPTS).values
    assert torch.allclose(half, whole.score(pictures, PROMPTS).values, rtol=0.2, atol=0.02)
    again = loaded(name, weights_dir, dtype="bf16").score(pictures, PROMPTS).values
    assert torch.equal(half, again)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shared.weight": None}, r"shared\.weight is missing"),
        ({"shared.weight": torch.zeros(7, 32)}, "the tokenizer has 99 tokens, the weights 7"),
        ({"mm_projector.2.weight": None}, r"mm_projector\.0 or \.2 is missing"),
        (
            {"mm_projector.0.weight": torch.zeros(8, 64)},
            r"mm_projector\.0\.bias is \(32,\), where \(8,\)",
        ),
        ({"extra.weight": torch.zeros(1)}, r"1 unexpected: extra\.weight"),
        (
            {"vision_tower.vision_tower.vision_model.embeddings.patch_embedding.weight": None},
            "the vision tower is not CLIP's",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(
    weights_dir: Path, tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    kept = {n: v for n, v in (t5_state(tower=True) | change).items() if v is not None}
    save_tensors(tmp_path / "model.safetensors", {n: v.contiguous() for n, v in kept.items()})
    shutil.copy(weights_dir / "vqascore" / "xl" / "config.json", tmp_path)
    with pytest.raises((DataError, WeightsMismatchError), match=message):
        loaded("vqascore:xl", weights_dir, weights=str(tmp_path))


def test_a_folder_without_t5s_config_is_refused(weights_dir: Path, tmp_path: Path) -> None:
    shutil.copy(weights_dir / "vqascore" / "xl" / "pytorch_model.bin", tmp_path)
    with pytest.raises(DataError, match=r"not a T5 config: .*d_model is missing"):
        loaded("vqascore:xl", weights_dir, weights=str(tmp_path))


def test_a_vlm_folder_that_lacks_something_says_what(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["qwen2_vl"], tmp_path / "copy"))
    told: Any = read_json(folder / "config.json")
    with pytest.raises(DataError, match="not a model's folder"):
        loaded("vqascore:vlm", weights=str(folder / "config.json"))
    write_json(folder / "preprocessor_config.json", {"image_mean": 3})
    with pytest.raises(DataError, match="image processor's config cannot be used"):
        loaded("vqascore:vlm", weights=str(folder))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(DataError, match=r"holds no preprocessor_config\.json"):
        loaded("vqascore:vlm", weights=str(folder))
    write_json(folder / "processor_config.json", {"image_processor": {"min_pixels": 99}})
    assert "area-99-" in loaded("vqascore:vlm", weights=str(folder)).info.preprocess_id
    write_json(folder / "config.json", {**told, "model_type": "llava"})
    with pytest.raises(DataError, match=r"model_type llava"):
        loaded("vqascore:vlm", weights=str(folder))
