"""What one file per scorer implements; `LoadedScorer` builds everything else on it."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.rewards.info import ScorerInfo
from diffpref.types import PerRow

Pixels = Float[Tensor, "n 3 y x"]


@runtime_checkable
class ScoringModel(Protocol):
    """Scores pixels in [0, 1] against one prompt each.

    reward: rows are independent; with gradient where `info.differentiable`.
    overlong: which prompts are cut before they are read.
    to: the same scorer elsewhere; None keeps what it is.
    """

    @property
    def info(self) -> ScorerInfo: ...

    def reward(self, pixels: Pixels, prompts: tuple[str, ...], /) -> PerRow: ...

    def overlong(self, prompts: Sequence[str], /) -> list[bool]: ...

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "ScoringModel": ...


@runtime_checkable
class TwoTower(Protocol):
    """A scoring model whose score is `logit_scale` times the product of two unit embeddings."""

    @property
    def logit_scale(self) -> float: ...

    def embed_images(self, pixels: Pixels, /) -> Float[Tensor, "n d"]: ...

    def embed_prompts(self, prompts: Sequence[str], /) -> Float[Tensor, "m d"]: ...
