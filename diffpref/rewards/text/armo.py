r"""ArmoRM: nineteen absolute ratings, weighted by what the prompt asks for (2406.12845).

    r = W h(end)                                       19 objectives, no bias
    g = scale softmax(MLP(h(end of prompt)) / T)       ReLU between layers, T = 10
    s = \sum_i g_i (r M)_i                             M takes verbosity out of the others

Written from the paper and the facts of the released code: its head is rebuilt, its code is not run.
The prompt's state is read at the token that ends the user's turn, in the released code the start of
the last `<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n`.

Departs from the released code: heads in float32; a batch is allowed (the released pooling looks
for the first filler, which fails for filling on the left); a response that imitates the assistant's
header does not move where the prompt is read.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.state import State, mismatch
from diffpref.rewards.text.cards import TEXT_SCORERS
from diffpref.rewards.text.chat import Chat, chat_of
from diffpref.rewards.text.decoder import Decoder, at, ends
from diffpref.rewards.text.weights import check_count, find_folder, host, read_heads, refs_of
from diffpref.types import PerRow

OBJECTIVES = (
    "helpsteer-helpfulness",
    "helpsteer-correctness",
    "helpsteer-coherence",
    "helpsteer-complexity",
    "helpsteer-verbosity",
    "ultrafeedback-overall_score",
    "ultrafeedback-instruction_following",
    "ultrafeedback-truthfulness",
    "ultrafeedback-honesty",
    "ultrafeedback-helpfulness",
    "beavertails-is_safe",
    "prometheus-score",
    "argilla-overall_quality",
    "argilla-judge_lm",
    "code-complexity",
    "code-style",
    "code-explanation",
    "code-instruction-following",
    "code-readability",
)
"""The published model's, in order."""

TEMPERATURE = 10.0
HEADS = ("regression_layer.", "gating.", "reward_transform_matrix")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The ratings' weights as a function of the prompt.

    Attributes:
        layers: weight and bias of each linear layer; the last bias may be absent.
        temperature: of the softmax.
        scale: of its result.
    """

    layers: tuple[tuple[Tensor, Tensor | None], ...]
    temperature: float
    scale: float

    def __call__(self, prompt: Float[Tensor, "n d"]) -> Float[Tensor, "n o"]:
        found = prompt
        for number, (weight, bias) in enumerate(self.layers):
            found = torch.nn.functional.linear(found if number == 0 else found.relu(), weight, bias)
        return self.scale * (found / self.temperature).softmax(dim=1)


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What ArmoRM thinks of each response.

    Attributes:
        rewards: one per objective; HelpSteer's own scale is 5 x reward - 0.5.
        gating: how much each objective matters for the prompt.
        coefficients: gating M^T, so that score = sum of rewards x coefficients.
        score: the preference score.
    """

    rewards: Float[Tensor, "n o"]
    gating: Float[Tensor, "n o"]
    coefficients: Float[Tensor, "n o"]
    score: Float[Tensor, " n"]


@dataclass(frozen=True, kw_only=True)
class ArmoReward:
    """A decoder, the ratings' layer, the transform and the gate."""

    info: ScorerInfo
    chat: Chat
    decoder: Decoder
    ratings: Float[Tensor, "o d"]
    transform: Float[Tensor, "o o"]
    gate: Gate

    def opinion(self, prompts: Sequence[str], responses: Sequence[str]) -> Opinion:
        """Return ratings, weights and score, on the network's device."""
        rows = self.chat.rows(prompts, responses)
        states = self.decoder.states(rows)
        rewards = at(states, ends(rows)) @ self.ratings.T
        openings = [len(self.chat.opening(prompt)) for prompt in prompts]
        places = [min(place, len(row)) - 1 for place, row in zip(openings, rows, strict=True)]
        gating = self.gate(at(states, places))
        coefficients = gating @ self.transform.T
        score = (rewards * coefficients).sum(dim=1)
        return Opinion(rewards=rewards, gating=gating, coefficients=coefficients, score=score)

    def judge(self, prompts: Sequence[str], responses: Sequence[str], /) -> PerRow:
        """Return the preference scores, on the CPU."""
        return self.opinion(prompts, responses).score.cpu()

    def overlong(self, prompts: Sequence[str], responses: Sequence[str], /) -> list[bool]:
        return self.chat.overlong(prompts, responses)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "ArmoReward":
        net = deepcopy(self.decoder.net).to(device=device, dtype=dtype)
        layers = tuple(
            (weight.to(device=device), None if bias is None else bias.to(device=device))
            for weight, bias in self.gate.layers
        )
        return replace(
            self,
            decoder=Decoder(net=net),
            ratings=self.ratings.to(device=device),
            transform=self.transform.to(device=device),
            gate=replace(self.gate, layers=layers),
        )


def load_armo(options: LoadOptions) -> ArmoReward:
    """Return ArmoRM-Llama3-8B-v0.1."""
    from transformers import AutoModel

    card = TEXT_SCORERS["armorm"]
    folder = find_folder(card, options)
    net = host(AutoModel, folder, options, heads=HEADS)
    heads = {n: v.to(options.device) for n, v in read_heads(folder, HEADS).items()}
    check_count(net, sum(v.numel() for v in heads.values()), card, options, str(folder))
    gate = gate_of(heads, net.config, folder)
    return ArmoReward(
        info=info_of(
            card,
            variant=options.variant,
            preprocess_id="text",
            tokenizer_id="chat-template",
            weights=refs_of(folder, "armorm"),
        ),
        chat=chat_of(folder, net.config.max_position_embeddings),
        decoder=Decoder(net=net),
        ratings=heads["regression_layer.weight"],
        transform=heads["reward_transform_matrix"],
        gate=gate,
    )


def gate_of(heads: State, config: Any, folder: Path) -> Gate:
    """Return the gate of heads by their stored names, after all of them were found whole.

    Raises:
        WeightsMismatchError: a head is missing, incomplete or too many.
    """
    count = sum(name.startswith("gating.layers.") and name.endswith("weight") for name in heads)
    names = [f"gating.layers.{number}.weight" for number in range(count)]
    biases = [f"gating.layers.{number}.bias" for number in range(count)]
    wanted = {"regression_layer.weight", "reward_transform_matrix", "gating.logit_scale", *names}
    wanted |= set(biases[:-1]) | {"gating.layers.0.weight"}
    missing = sorted(wanted - set(heads))
    unexpected = sorted(set(heads) - wanted - set(biases))
    if missing or unexpected:
        hint = "give the folder of RLHFlow/ArmoRM-Llama3-8B-v0.1"
        raise mismatch(str(folder), "ArmoRM", missing, unexpected, hint)
    layers = tuple(
        (heads[weight], heads.get(bias)) for weight, bias in zip(names, biases, strict=True)
    )
    temperature = float(config.to_dict().get("gating_temperature", TEMPERATURE))
    scale = float(heads["gating.logit_scale"].flatten()[0])
    return Gate(layers=layers, temperature=temperature, scale=scale)
