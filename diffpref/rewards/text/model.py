"""What one file per text scorer implements; `LoadedTextScorer` builds everything else on it."""

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.rewards.info import ScorerInfo
from diffpref.types import PerRow

_Own = TypeVar("_Own")


@runtime_checkable
class _Model(Protocol):
    """What every text scorer has; `overlong` says which conversations are cut."""

    @property
    def info(self) -> ScorerInfo: ...

    def overlong(self, prompts: Sequence[str], responses: Sequence[str], /) -> list[bool]: ...

    def to(self: _Own, device: torch.device | None, dtype: torch.dtype | None, /) -> _Own: ...


@runtime_checkable
class TextModel(_Model, Protocol):
    """Scores responses, one prompt each; rows are independent."""

    def judge(self, prompts: Sequence[str], responses: Sequence[str], /) -> PerRow: ...


@runtime_checkable
class PairwiseTextModel(_Model, Protocol):
    """Compares responses to one prompt and has no score for one alone.

    preferences: probability in [0, 1] that response a is preferred to b; one half on the diagonal.
    """

    def preferences(
        self, prompt: str, responses: Sequence[str], /, *, batch_size: int
    ) -> Float[Tensor, "i i"]: ...
