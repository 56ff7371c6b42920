"""What one file per scorer implements; `LoadedScorer` builds everything else on it."""

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.rewards.info import ScorerInfo
from diffpref.rewards.sight import Pixels, Sight
from diffpref.types import PerRow

__all__ = [
    "Explains",
    "ImageTower",
    "LooksFirst",
    "PairwiseModel",
    "Pixels",
    "ScoringModel",
    "TwoTower",
]

_Own = TypeVar("_Own")


@runtime_checkable
class _Model(Protocol):
    """What every scorer has: who it is, how it sees, which prompts it cuts, where it computes.

    `to` returns the same scorer elsewhere; None keeps what it is.
    """

    @property
    def info(self) -> ScorerInfo: ...

    @property
    def sight(self) -> Sight: ...

    def overlong(self, prompts: Sequence[str], /) -> list[bool]: ...

    def to(self: _Own, device: torch.device | None, dtype: torch.dtype | None, /) -> _Own: ...


@runtime_checkable
class ScoringModel(_Model, Protocol):
    """Scores what its sight made of pictures, one prompt each.

    judge: rows are independent, whatever device they come on; NaN where there is no verdict; with
    gradient where `info.differentiable`.
    """

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow: ...


@runtime_checkable
class Explains(Protocol):
    """A scoring model that says why pictures it just judged have no score; else an empty text."""

    def explain(self, seen: Tensor, prompts: tuple[str, ...], /) -> list[str]: ...


@runtime_checkable
class LooksFirst(Protocol):
    """A scoring model whose image tower does not depend on the prompt, so that it runs once.

    judge(seen, prompts) is judge_looked(look(seen), prompts), whatever device `seen` comes on.
    """

    def look(self, seen: Tensor, /) -> Tensor: ...

    def judge_looked(self, looked: Tensor, prompts: tuple[str, ...], /) -> PerRow: ...


@runtime_checkable
class ImageTower(Protocol):
    """A scoring model that embeds pictures on their own, as unit vectors in float32."""

    def embed_seen(self, seen: Tensor, /) -> Float[Tensor, "n d"]: ...


@runtime_checkable
class TwoTower(ImageTower, Protocol):
    """A scoring model whose score is a function of the cosine of two unit embeddings.

    finish: cosines of any shape -> scores.
    """

    def embed_prompts(self, prompts: Sequence[str], /) -> Float[Tensor, "m d"]: ...

    def finish(self, cosine: Tensor, /) -> Tensor: ...


@runtime_checkable
class PairwiseModel(_Model, Protocol):
    """Compares two pictures of one prompt and has no score for one alone.

    prefer: probability in [0, 1] that the first of each pair is preferred; NaN without a verdict.
    """

    def prefer(self, first: Tensor, second: Tensor, prompts: tuple[str, ...], /) -> PerRow: ...
