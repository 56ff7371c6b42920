"""Prompts to conditioning, as the stock pipelines do it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from diffpref.numerics import widen
from diffpref.types import Conditioning

Encoder = CLIPTextModel | CLIPTextModelWithProjection


@dataclass(frozen=True, kw_only=True)
class TextEncoders:
    """The frozen text half of a model: one tokenizer and one encoder per tower.

    `penultimate`: states come from the last layer but one (SDXL), else from the last one after
    its layer norm. `zero_uncond`: the model was trained with zeros for the empty prompt.
    `masked`: the filling is not attended to, and states come from the last layer before its norm
    (Stable Cascade).
    """

    tokenizers: tuple[CLIPTokenizer, ...]
    encoders: tuple[Encoder, ...]
    penultimate: bool
    zero_uncond: bool
    masked: bool = False

    @property
    def limit(self) -> int:
        """How many tokens are read, the start and end marks included."""
        return min(int(tokenizer.model_max_length) for tokenizer in self.tokenizers)

    def overlong(self, prompts: Sequence[str]) -> int:
        """Return how many prompts have more tokens than are read; the rest of them is lost."""
        return sum(
            any(len(self._tokens(tokenizer, prompt)) > self.limit for tokenizer in self.tokenizers)
            for prompt in prompts
        )

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Return text states and, for towers that have one, the pooled vector; `time_ids` absent.

        Precision:
            at least float32, on the CPU; computed in the encoders' own precision.
        """
        texts: list[Float[Tensor, "n l d"]] = []
        pooled: Float[Tensor, "n p"] | None = None
        for tokenizer, encoder in zip(self.tokenizers, self.encoders, strict=True):
            ids, mask = self._ids(tokenizer, prompts)
            output = encoder(
                ids.to(encoder.device),
                attention_mask=mask.to(encoder.device) if self.masked else None,
                output_hidden_states=True,
            )
            texts.append(self._states(output))
            if isinstance(encoder, CLIPTextModelWithProjection):
                pooled = widen(output[0]).cpu()
        return Conditioning(text=widen(torch.cat(texts, dim=-1)).cpu(), pooled=pooled)

    def uncond(self, n: int) -> Conditioning:
        """Return n rows of what classifier-free guidance contrasts with, as the stock pipelines.

        Not what a dropped caption becomes in training: that is the encoded empty prompt.
        """
        empty = self.encode([""] * n)
        return empty.map(torch.zeros_like) if self.zero_uncond else empty

    def _states(self, output: Any) -> Float[Tensor, "n l d"]:
        if self.masked:
            return output.hidden_states[-1]
        return output.hidden_states[-2] if self.penultimate else output.last_hidden_state

    def _ids(
        self, tokenizer: CLIPTokenizer, prompts: Sequence[str]
    ) -> tuple[Int[Tensor, "n l"], Int[Tensor, "n l"]]:
        tokens = tokenizer(
            list(prompts),
            padding="max_length",
            max_length=int(tokenizer.model_max_length),
            truncation=True,
            return_tensors="pt",
        )
        ids, mask = (torch.as_tensor(tokens[name]) for name in ("input_ids", "attention_mask"))
        return ids, mask

    def _tokens(self, tokenizer: CLIPTokenizer, prompt: str) -> list[int]:
        return list(tokenizer(prompt, verbose=False)["input_ids"])
