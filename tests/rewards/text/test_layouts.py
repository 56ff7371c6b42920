"""Full-size layouts of the text models: every name and shape, and how many numbers they make.

Names and shapes are written out here from the architectures and compared with transformers' own
networks on the meta device, which take no memory.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    Gemma2Config,
    GemmaConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen3Config,
)

from diffpref.rewards.options import LoadOptions
from diffpref.rewards.state import WeightsMismatchError
from diffpref.rewards.text.armo import gate_of
from diffpref.rewards.text.cards import TEXT_SCORERS
from diffpref.rewards.text.weights import MOST_ROWS, check_count

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Size:
    """A decoder: v tokens, width d, inner width f, l layers, heads of h for queries and keys."""

    config: Callable[..., PreTrainedConfig]
    v: int
    d: int
    f: int
    l: int  # noqa: E741
    queries: int
    keys: int
    h: int
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    head_norms: tuple[str, ...] = ()

    def build(self, auto: Any) -> Any:
        """Return transformers' network of this size, without memory."""
        config = self.config(
            vocab_size=self.v,
            hidden_size=self.d,
            intermediate_size=self.f,
            num_hidden_layers=self.l,
            num_attention_heads=self.queries,
            num_key_value_heads=self.keys,
            head_dim=self.h,
            pad_token_id=None,
        )
        config.num_labels = 1
        with torch.device("meta"):
            return auto.from_config(config)

    def decoder(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield every weight of the decoder."""
        yield "embed_tokens.weight", (self.v, self.d)
        wide, narrow = self.queries * self.h, self.keys * self.h
        for layer in range(self.l):
            ahead = f"layers.{layer}"
            yield f"{ahead}.self_attn.q_proj.weight", (wide, self.d)
            yield f"{ahead}.self_attn.k_proj.weight", (narrow, self.d)
            yield f"{ahead}.self_attn.v_proj.weight", (narrow, self.d)
            yield f"{ahead}.self_attn.o_proj.weight", (self.d, wide)
            yield f"{ahead}.mlp.gate_proj.weight", (self.f, self.d)
            yield f"{ahead}.mlp.up_proj.weight", (self.f, self.d)
            yield f"{ahead}.mlp.down_proj.weight", (self.d, self.f)
            yield from ((f"{ahead}.{name}.weight", (self.d,)) for name in self.norms)
            yield from ((f"{ahead}.self_attn.{name}.weight", (self.h,)) for name in self.head_norms)
        yield "norm.weight", (self.d,)


LLAMA = Size(config=LlamaConfig, v=128_256, d=4096, f=14_336, l=32, queries=32, keys=8, h=128)
LLAMA_3B = replace(LLAMA, d=3072, f=8192, l=28, queries=24)
LLAMA_1B = replace(LLAMA, d=2048, f=8192, l=16, h=64)
AROUND = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
GEMMA2 = Size(
    config=Gemma2Config, v=256_000, d=4608, f=36_864, l=46, queries=32, keys=16, h=128,
    norms=(*LLAMA.norms, *AROUND),
)  # fmt: skip
GEMMA = Size(config=GemmaConfig, v=256_000, d=2048, f=16_384, l=18, queries=8, keys=1, h=256)
QWEN3 = Size(
    config=Qwen3Config, v=151_936, d=4096, f=12_288, l=36, queries=32, keys=8, h=128,
    head_norms=("q_norm", "k_norm"),
)  # fmt: skip

CLASSIFIERS: Mapping[str, Size] = {
    "skywork-reward:v2-qwen3-0.6b": replace(QWEN3, d=1024, f=3072, l=28, queries=16),
    "skywork-reward:v2-qwen3-1.7b": replace(QWEN3, d=2048, f=6144, l=28, queries=16),
    "skywork-reward:v2-qwen3-4b": replace(QWEN3, d=2560, f=9728),
    "skywork-reward:v2-qwen3-8b": QWEN3,
    "skywork-reward:v2-llama-3.2-1b": LLAMA_1B,
    "skywork-reward:v2-llama-3.2-3b": LLAMA_3B,
    "skywork-reward:v2-llama-3.1-8b": LLAMA,
    "skywork-reward:llama-3.1-8b-v0.2": LLAMA,
    "skywork-reward:gemma-2-27b-v0.2": GEMMA2,
    "skywork-reward:gemma-2-27b": GEMMA2,
    "fsfairx": LLAMA,
}
ARMO_HEADS: Shapes = {
    "regression_layer.weight": (19, 4096),
    "reward_transform_matrix": (19, 19),
    "gating.logit_scale": (1,),
    "gating.layers.0.weight": (1024, 4096),
    "gating.layers.0.bias": (1024,),
    "gating.layers.1.weight": (1024, 1024),
    "gating.layers.1.bias": (1024,),
    "gating.layers.2.weight": (1024, 1024),
    "gating.layers.2.bias": (1024,),
    "gating.layers.3.weight": (19, 1024),
    "gating.layers.3.bias": (19,),
}
TRUNKS: Mapping[str, tuple[Size, Shapes]] = {
    "armorm": (LLAMA, ARMO_HEADS),
    "gpm:llama-3.1-8b": (
        LLAMA, {"value_head.weight": (6, 4096), "prompt_head.weight": (3, 4096)}
    ),
    "gpm:gemma-2b": (GEMMA, {"value_head.weight": (6, 2048), "prompt_head.weight": (3, 2048)}),
}  # fmt: skip


def published(name: str) -> int:
    plain, _, variant = name.partition(":")
    (part,) = TEXT_SCORERS[plain].needed(variant)
    assert part.parameters is not None
    return part.parameters


def count(shapes: Shapes) -> int:
    return sum(prod(shape) for shape in shapes.values())


def shapes_of(net: Any) -> Shapes:
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def checked(net: Any, more: int, name: str) -> None:
    plain, _, variant = name.partition(":")
    check_count(net, more, TEXT_SCORERS[plain], LoadOptions(variant=variant), "x")


def test_every_model_of_the_cards_has_its_layout() -> None:
    cards = [card for card in TEXT_SCORERS.values() if card.parts and card.name != "bradley-terry"]
    named = {f"{card.name}:{v}" for card in cards for v in card.variants}
    assert {*CLASSIFIERS, *TRUNKS} == named | {c.name for c in cards if not c.variants}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_are_stock_decoders_with_one_output(name: str) -> None:
    size = CLASSIFIERS[name]
    written = {f"model.{part}": shape for part, shape in size.decoder()}
    written["score.weight"] = (1, size.d)
    net = size.build(AutoModelForSequenceClassification)
    assert shapes_of(net) == written
    assert count(written) == published(name)
    checked(net, 0, name)


@pytest.mark.parametrize("name", TRUNKS)
def test_models_with_their_own_heads_are_stock_decoders_and_those(name: str) -> None:
    size, heads = TRUNKS[name]
    written = dict(size.decoder())
    net = size.build(AutoModel)
    assert shapes_of(net) == written
    assert count(written) + count(heads) == published(name)
    checked(net, count(heads), name)
    # Every form of the heads that could not be told from outside is read off the weights.
    for rows in (4, 8):
        checked(net, count(heads) + rows * size.d, name)


def test_filler_tokens_are_accepted_and_other_sizes_refused() -> None:
    name = "skywork-reward:v2-qwen3-0.6b"
    size = CLASSIFIERS[name]
    for more in (1, -1, MOST_ROWS):
        checked(replace(size, v=size.v + more).build(AutoModelForSequenceClassification), 0, name)
    for other in (
        replace(size, v=size.v + MOST_ROWS + 1),
        replace(size, l=size.l - 1),
        CLASSIFIERS["skywork-reward:v2-qwen3-1.7b"],
    ):
        net = other.build(AutoModelForSequenceClassification)
        with pytest.raises(WeightsMismatchError, match="the published ones 596,050,944"):
            checked(net, 0, name)
    with pytest.raises(WeightsMismatchError, match="the published ones 596,050,944"):
        checked(size.build(AutoModelForSequenceClassification), 1, name)


def test_armorms_gate_reads_every_head_of_the_full_size() -> None:
    heads = {name: torch.zeros(shape) for name, shape in ARMO_HEADS.items()}
    gate = gate_of(heads, LlamaConfig(), Path("x"))
    assert [tuple(weight.shape) for weight, _bias in gate.layers] == [
        ARMO_HEADS[f"gating.layers.{number}.weight"] for number in range(4)
    ]
    assert (gate.temperature, gate.scale) == (10.0, 0.0)
    unbiased = {n: v for n, v in heads.items() if n != "gating.layers.3.bias"}
    assert gate_of(unbiased, LlamaConfig(), Path("x")).layers[3][1] is None
    lost = {n: v for n, v in heads.items() if n != "gating.layers.2.bias"}
    with pytest.raises(WeightsMismatchError, match=r"gating\.layers\.2\.bias"):
        gate_of(lost, LlamaConfig(), Path("x"))
