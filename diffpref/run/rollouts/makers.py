"""From prompts to items of a round, and from items to the windows an objective learns from."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.types import Denoiser, PromptBatch

Items = dict[str, Tensor]
"""Tensors of equal length, one row per item, on the CPU."""


@runtime_checkable
class Maker(Protocol):
    """Makes one kind of item.

    make: sample the prompts' share of a round, equally many items of every prompt. chosen: which
    items of a whole round are worth learning from.
    window: items with the positions that key their draws -> what an objective takes.
    kind: what an item is; reads: kinds `window` understands. k: candidates or images of a prompt,
    counted: the field of the configuration that says how many.
    """

    @property
    def kind(self) -> str: ...

    @property
    def reads(self) -> tuple[str, ...]: ...

    @property
    def k(self) -> int: ...

    @property
    def counted(self) -> str: ...

    def make(self, net: Denoiser, batch: PromptBatch, draws: Draws, /) -> Items: ...

    def chosen(self, items: Items, /) -> Int[Tensor, " m"]: ...

    def window(self, items: Items, positions: Int[Tensor, " b"], /) -> Any: ...


def joined(parts: Iterable[Items]) -> Items:
    """Concatenate items."""
    every = list(parts)
    if not every:
        return {}
    return {name: torch.cat([each[name] for each in every]) for name in every[0]}
