"""Reward models on encoders, which read prompt and response as a pair: DeBERTa, BERT and others."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch

from diffpref.rewards.info import ScorerInfo
from diffpref.rewards.text.chat import MOST_TOKENS
from diffpref.types import PerRow


@dataclass(frozen=True, kw_only=True)
class EncoderReward:
    """transformers' sequence classifier as it is, with its attention mask; one output."""

    info: ScorerInfo
    net: Any
    tokenizer: Any
    longest: int

    @staticmethod
    def of(info: ScorerInfo, net: Any, tokenizer: Any) -> "EncoderReward":
        """Return the scorer of a network; it reads as many tokens as it has positions."""
        reads = min(net.config.max_position_embeddings, int(tokenizer.model_max_length))
        longest = min(MOST_TOKENS, reads)
        return EncoderReward(info=info, net=net, tokenizer=tokenizer, longest=longest)

    def judge(self, prompts: Sequence[str], responses: Sequence[str], /) -> PerRow:
        """Return the scores, on the CPU."""
        ids = self.tokenizer(
            list(prompts),
            list(responses),
            padding=True,
            truncation=True,
            max_length=self.longest,
            return_tensors="pt",
        )
        return self.net(**ids.to(self.net.device)).logits[:, 0].float().cpu()

    def overlong(self, prompts: Sequence[str], responses: Sequence[str], /) -> list[bool]:
        pairs = zip(prompts, responses, strict=True)
        return [
            len(self.tokenizer(prompt, response, verbose=False)["input_ids"]) > self.longest
            for prompt, response in pairs
        ]

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "EncoderReward":
        return replace(self, net=deepcopy(self.net).to(device=device, dtype=dtype))
