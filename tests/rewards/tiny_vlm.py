"""Tiny random vision-language scorers in their published layouts: Qwen-VL folders, CLIP-FlanT5."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

from diffpref.io import save_tensors, write_json

INSTRUCTION = "\nRate this.\nTextual prompt - {text_prompt}\n\nOverall: <|Reward|>\n\nEND\n"
SPECIAL = ("im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")
MERGES = (("Y", "e"), ("Ye", "s"), ("Ġ", "Yes"), ("y", "e"), ("ye", "s"), ("r", "e"), ("Ġ", "re"))
CHAT = (
    "{% for turn in messages %}{% if loop.first and turn.role != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ turn.role }}\n"
    "{% for part in turn.content %}{% if part.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FLAT: Mapping[str, Any] = {
    "model_type": "qwen2_vl",
    "image_token_id": 268,
    "video_token_id": 269,
    "vision_start_token_id": 266,
    "vision_end_token_id": 267,
    "bos_token_id": 263,
    "eos_token_id": 265,
    "hidden_act": "silu",
    "hidden_size": 32,
    "intermediate_size": 48,
    "max_window_layers": 2,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]},
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vision_config": {
        "depth": 2,
        "embed_dim": 16,
        "hidden_size": 32,
        "in_chans": 3,
        "mlp_ratio": 2,
        "num_heads": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "vocab_size": 280,
}
"""config.json of a tiny Qwen2-VL as its hub has it, before configs were nested."""


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Return a byte-level tokenizer with a few merges and the special tokens of Qwen2-VL."""
    words = sorted(pre_tokenizers.ByteLevel.alphabet()) + [a + b for a, b in MERGES]
    stock: Any = Qwen2Tokenizer  # its annotation says strings, its code wants pairs
    found = stock(vocab={word: n for n, word in enumerate(words)}, merges=list(MERGES))
    found.add_tokens([AddedToken(f"<|{name}|>", special=True) for name in SPECIAL])
    found.chat_template = CHAT
    assert found.convert_tokens_to_ids("<|image_pad|>") == FLAT["image_token_id"]
    return found


def random_net(build: Callable[[], nn.Module], *, by: float = 6, seed: int = 0) -> Any:
    """Return a network whose outputs depend visibly on its inputs, its weights exact in bf16."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build().eval()
        with torch.no_grad():
            for weight in net.parameters():
                if weight.ndim > 1:
                    weight.mul_(by)
                else:
                    weight.add_(0.1 * torch.randn_like(weight))
                weight.copy_(weight.bfloat16())
    return net.requires_grad_(False)


def hpsv3_nets() -> tuple[Qwen2VLForConditionalGeneration, nn.Sequential]:
    """Return stock Qwen2-VL with one row for the reward token, and a head of the published form."""
    config = Qwen2VLConfig.from_dict({**FLAT, "vocab_size": len(qwen_tokenizer()) + 1})
    net = random_net(lambda: Qwen2VLForConditionalGeneration(config).float())

    def head() -> nn.Sequential:
        lines = (nn.Linear(32, 24), nn.ReLU(), nn.Dropout(0.05), nn.Linear(24, 16), nn.ReLU())
        return nn.Sequential(*lines, nn.Linear(16, 2))

    return net, random_net(head, by=2, seed=1)


def to_old(name: str) -> str:
    """Return what transformers 4.45.2 called a weight, from its module tree."""
    for new, old in (("model.visual.", "visual."), ("model.language_model.", "model.")):
        if name.startswith(new):
            return old + name[len(new) :]
    return name


def write_hpsv3(folder: Path) -> None:
    """Write one file of bfloat16 weights in the old layout, Qwen2-VL's folder, an instruction."""
    net, head = hpsv3_nets()
    state = {to_old(name): value.bfloat16() for name, value in net.state_dict().items()}
    state |= {f"rm_head.{name}": value.clone() for name, value in head.state_dict().items()}
    for name in ("model", "base", "instruction"):
        (folder / name).mkdir(parents=True)
    tensors = {name: value.contiguous() for name, value in state.items()}
    save_tensors(folder / "model" / "HPSv3.safetensors", tensors, {"format": "pt"})
    write_json(folder / "base" / "config.json", dict(FLAT))
    qwen_tokenizer().save_pretrained(str(folder / "base"))
    (folder / "instruction" / "instruction.txt").write_text(INSTRUCTION)


def vlm_config(family: str) -> dict[str, Any]:
    """Return config.json of a tiny model of a family, as its hub writes it."""
    if family == "qwen2_vl":
        return dict(FLAT)
    vision = {**FLAT["vision_config"], "out_hidden_size": 32, "hidden_size": 16}
    vision |= {"intermediate_size": 32, "embed_dim": None}
    if family == "qwen2_5_vl":
        vision |= {"window_size": 56, "fullatt_block_indexes": [1]}
        return {**FLAT, "model_type": family, "vision_config": vision, "tie_word_embeddings": True}
    outer = ("model_type", "image_token_id", "video_token_id", "torch_dtype", "vision_config")
    text = {k: v for k, v in FLAT.items() if k not in (*outer, "rope_theta", "rope_scaling")}
    rope = {"mrope_section": [2, 1, 1], "mrope_interleaved": True, "rope_type": "default"}
    vision |= {"patch_size": 16, "deepstack_visual_indexes": [0], "num_position_embeddings": 16}
    return {
        **{name: FLAT[name] for name in (*outer[1:4], "vision_start_token_id")},
        "model_type": family,
        "vision_config": vision,
        "text_config": {**text, "head_dim": 8, "rope_theta": 1000.0, "rope_scaling": rope},
    }


def vlm_net(family: str) -> Any:
    """Return the stock model of a family, built by transformers from its config."""
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[family].from_dict(vlm_config(family))
    net = random_net(lambda: AutoModelForImageTextToText.from_config(config).float())
    net.tie_weights()
    return net


def write_vlm(folder: Path, family: str = "qwen2_vl") -> None:
    """Write a whole folder; Qwen3-VL's keys are today's, the older families' are the old ones."""
    folder.mkdir(parents=True, exist_ok=True)
    net = vlm_net(family)
    named = {
        (name if family == "qwen3_vl" else to_old(name)): value.contiguous()
        for name, value in net.state_dict().items()
        if not (net.config.tie_word_embeddings and name == "lm_head.weight")
    }
    save_tensors(folder / "model.safetensors", named, {"format": "pt"})
    write_json(folder / "config.json", vlm_config(family))
    qwen_tokenizer().save_pretrained(str(folder))
    half = [0.5, 0.5, 0.5]
    size = {"shortest_edge": 3136, "longest_edge": 6272}
    told: dict[str, Any] = {"min_pixels": 3136, "max_pixels": 6272}
    if family == "qwen3_vl":
        told = {"size": size, "image_mean": half, "image_std": half}
    write_json(folder / "preprocessor_config.json", told)


def t5_tokenizer() -> T5Tokenizer:
    """Return a unigram tokenizer of single characters and `Yes`."""
    marks = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁Yes", -1.0)]
    words: Any = pieces + [(mark, -3.0) for mark in marks]
    return T5Tokenizer(vocab=words, extra_ids=0)


def t5_net() -> T5ForConditionalGeneration:
    """Return a two-layer FLAN-T5 with its own head and rows no token uses."""
    config = T5Config(
        vocab_size=len(t5_tokenizer()) + 5,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    net = random_net(lambda: T5ForConditionalGeneration(config), by=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        net.lm_head.weight = nn.Parameter(
            0.3 * torch.randn(config.vocab_size, 32), requires_grad=False
        )
    return net


def t5_tower() -> CLIPVisionModel:
    """Return a CLIP tower of two layers that sees 56 pixels in patches of 14."""
    config = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=1,
        image_size=56,
        patch_size=14,
        hidden_act="quick_gelu",
    )
    return random_net(lambda: CLIPVisionModel(config), by=3, seed=2)


def t5_projector() -> nn.Sequential:
    """Return the two layers between CLIP and T5."""

    def build() -> nn.Sequential:
        return nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 32))

    return random_net(build, by=1, seed=3)


def t5_state(*, tower: bool) -> dict[str, Tensor]:
    """Return weights as the released checkpoint names them, with or without the tower."""
    net = t5_net()
    state = dict(net.state_dict())
    state["embed_tokens.weight"] = net.shared.weight
    state |= {f"mm_projector.{n}": v for n, v in t5_projector().state_dict().items()}
    if tower:
        state |= tower_state("vision_tower.vision_tower.")
    return {name: value.clone() for name, value in state.items()}


def tower_state(prefix: str) -> dict[str, Tensor]:
    """Return the tower's weights as CLIP checkpoints name them, below a prefix."""
    named = {
        f"{prefix}vision_model.{n.removeprefix('vision_model.')}": v.clone()
        for n, v in t5_tower().state_dict().items()
    }
    return named | {f"{prefix}vision_model.embeddings.position_ids": torch.arange(17)[None]}


def write_vqascore(folder: Path) -> None:
    """Write xxl without and xl with the vision tower, and a Qwen2-VL folder."""
    net = t5_net()
    fields = ("d_model", "d_kv", "d_ff", "num_layers", "num_heads", "feed_forward_proj")
    told = {name: getattr(net.config, name) for name in fields}
    told |= {"model_type": "clip_t5", "tie_word_embeddings": False, "mm_hidden_size": 64}
    for size, tower in (("xxl", False), ("xl", True)):
        (folder / size).mkdir(parents=True)
        torch.save(t5_state(tower=tower), folder / size / "pytorch_model.bin")
        write_json(folder / size / "config.json", told)
    (folder / "vision").mkdir()
    text = {"text_model.embeddings.token_embedding.weight": torch.zeros(3, 2)}
    torch.save(tower_state("") | text, folder / "vision" / "pytorch_model.bin")
    t5_tokenizer().save_pretrained(str(folder / "tokenizer"))
    write_vlm(folder / "vlm")


TINY_VLM: Mapping[str, Callable[[Path], None]] = {
    "hpsv3": write_hpsv3,
    "vqascore": write_vqascore,
}
