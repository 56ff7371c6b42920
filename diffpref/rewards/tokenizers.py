"""The two tokenizers of CLIP scorers, built from the word list that open_clip ships.

They differ for HTML entities, curly quotes, damaged text and literal special tokens, and in the id
that fills a short prompt (0 or 49407); which one a scorer was trained with is part of the scorer.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.rewards.libraries import importing

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

CONTEXT = 77
START, END = 49406, 49407


@runtime_checkable
class Tokenizer(Protocol):
    """Turns prompts into rows of ids, START ... END, cut and filled to the context."""

    @property
    def id(self) -> str: ...

    def ids(self, prompts: Sequence[str], /) -> Int[Tensor, "m l"]: ...

    def overlong(self, prompts: Sequence[str], /) -> list[bool]: ...


class OpenClipTokenizer:
    """open_clip's: repairs text with ftfy, resolves HTML entities, fills with 0."""

    id = "open_clip/77"

    def ids(self, prompts: Sequence[str], /) -> Int[Tensor, "m l"]:
        return _open_clip()(list(prompts), CONTEXT).long()

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [len(_open_clip().encode(prompt)) > CONTEXT - 2 for prompt in prompts]


class HubTokenizer:
    """transformers' fast one, as PickScore and MPS were trained with; fills with END."""

    id = "hf-clip/77"

    def ids(self, prompts: Sequence[str], /) -> Int[Tensor, "m l"]:
        found = _hub()(
            list(prompts),
            padding="max_length",
            max_length=CONTEXT,
            truncation=True,
            return_tensors="pt",
        )
        return torch.as_tensor(found["input_ids"])

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [len(_hub()(prompt, verbose=False)["input_ids"]) > CONTEXT for prompt in prompts]


@cache
def _open_clip() -> "SimpleTokenizer":
    with importing("CLIP's tokenizer"):  # whose word list comes with the library
        from open_clip.tokenizer import SimpleTokenizer

        return SimpleTokenizer()


@cache
def _hub() -> "CLIPTokenizer":
    from transformers import CLIPTokenizer

    ours = _open_clip()
    special = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    words = {special.get(word, word): number for word, number in ours.encoder.items()}
    merges = sorted(ours.bpe_ranks, key=ours.bpe_ranks.__getitem__)
    stock: Any = CLIPTokenizer  # its annotation says strings, its code wants pairs
    return stock(vocab=words, merges=merges, model_max_length=CONTEXT)
