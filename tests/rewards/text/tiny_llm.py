"""Tiny random language models in published layouts, and a tokenizer with a chat template."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    DebertaV2Config,
    Gemma2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from diffpref.io import save_tensors
from tests.rewards.tiny import plain, seeded

SPECIAL = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "[SEP]")
PAD, START, STOP, _, ASSISTANT, _, END, SEP = range(len(SPECIAL))
TURNS = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
STARTED = "{{ bos_token }}" + TURNS
"""A template that writes the start token itself."""


def make_tokenizer(template: str | None = TURNS, **told: Any) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes that puts a start token before every text."""
    alphabet = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocab = {word: number for number, word in enumerate(alphabet)}
    net = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    net.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    net.add_special_tokens(list(SPECIAL))
    net.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A [SEP] $B", special_tokens=[("<s>", START), ("[SEP]", SEP)]
    )
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=net, **{**named, **told})
    tokenizer.chat_template = template
    return tokenizer


def sizes(**told: Any) -> dict[str, Any]:
    """Return the sizes every tiny decoder has."""
    usual = {
        "vocab_size": 264,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "pad_token_id": PAD,
        "bos_token_id": START,
        "eos_token_id": STOP,
        "max_position_embeddings": 512,
        "initializer_range": 0.5,
    }
    return usual | told


def llama(**told: Any) -> LlamaConfig:
    return LlamaConfig(**sizes(**told))


def gemma2(**told: Any) -> Gemma2Config:
    """Return a Gemma 2 whose attention scores reach their cap."""
    capped = {"attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 1, "sliding_window": 64}
    return Gemma2Config(**sizes(**(capped | told)))


def qwen3(**told: Any) -> Qwen3Config:
    return Qwen3Config(**sizes(**told))


def deberta() -> DebertaV2Config:
    return DebertaV2Config(
        vocab_size=264,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=128,
        pad_token_id=PAD,
        relative_attention=True,
        position_biased_input=False,
        pos_att_type=["p2c", "c2p"],
        initializer_range=0.5,
    )


def write(
    folder: Path,
    config: PreTrainedConfig,
    state: Mapping[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerFast | None = None,
    **more: Any,
) -> Path:
    """Write config.json with further fields, model.safetensors and the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    told = config.to_diff_dict() | more
    (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")
    save_tensors(folder / "model.safetensors", dict(state), {"format": "pt"})
    (tokenizer or make_tokenizer()).save_pretrained(str(folder))
    return folder


def write_classifier(
    folder: Path,
    config: PreTrainedConfig | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
    labels: int = 1,
) -> Path:
    """Write a sequence classifier of transformers."""
    config = config or llama()
    config.num_labels = labels
    net = seeded(lambda: AutoModelForSequenceClassification.from_config(config))
    return write(folder, config, plain(net), tokenizer)


def linear(rows: int, columns: int, seed: int, scale: float = 0.5) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, columns, generator=rng)


def write_armo(folder: Path, *, temperature: float = 10.0, hidden: int = 12) -> Path:
    """Write ArmoRM's layout: a Llama under `model.`, ratings, transform and a gate."""
    config, wide = llama(), 16
    heads = {
        "regression_layer.weight": linear(19, wide, 1),
        "reward_transform_matrix": torch.eye(19) + linear(19, 19, 2, 0.1),
        "gating.logit_scale": torch.tensor([0.75]),
    }
    for number, (into, out) in enumerate(
        [(wide, hidden), (hidden, hidden), (hidden, hidden), (hidden, 19)]
    ):
        heads[f"gating.layers.{number}.weight"] = linear(out, into, 10 + number, 2.0)
        if number < 3:
            heads[f"gating.layers.{number}.bias"] = linear(1, out, 20 + number)[0]
    net = seeded(lambda: AutoModel.from_config(config))
    return write(
        folder,
        config,
        plain(net, "model.") | heads,
        make_tokenizer(STARTED),
        num_objectives=19,
        gating_temperature=temperature,
        architectures=["LlamaForRewardModelWithGating"],
        auto_map={"AutoModelForSequenceClassification": "modeling_custom.Llama"},
    )


def write_gpm(folder: Path, *, gate: bool = True) -> Path:
    """Write GPM's layout: a causal model with its unused head, a value head and maybe a gate."""
    config = llama()
    net = seeded(lambda: AutoModel.from_config(config))
    heads = {"lm_head.weight": linear(264, 16, 3), "value_head.weight": linear(6, 16, 4)}
    if gate:
        heads["prompt_head.weight"] = linear(3, 16, 5)
    return write(folder, config, plain(net, "model.") | heads, make_tokenizer(STARTED))


def write_variants(
    names: tuple[str, ...], writer: Callable[[Path], object]
) -> Callable[[Path], None]:
    """Return what writes the same model for every variant."""

    def write_all(folder: Path) -> None:
        for name in names:
            writer(folder / name)

    return write_all


def stock_module(folder: Path) -> nn.Module:
    """Return transformers' own classifier of a folder, loaded by itself."""
    net = AutoModelForSequenceClassification.from_pretrained(str(folder), num_labels=1)
    return net.eval()
