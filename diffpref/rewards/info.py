"""What a scorer says about itself and about the numbers it gives."""

from dataclasses import dataclass
from typing import Literal

from diffpref.types import PerRow

Kind = Literal["image-text", "fusion", "image", "pairwise", "text"]
"""image-text: two towers whose embeddings meet in a product; fusion: image and prompt together;
image: the prompt is ignored; pairwise: compares only; text: scores text."""


@dataclass(frozen=True, kw_only=True)
class WeightRef:
    """A file of weights, by content."""

    file: str
    sha256: str
    layout: str


@dataclass(frozen=True, kw_only=True)
class ScorerInfo:
    """Identity of a scorer. Higher scores are better.

    `scale` says what the number is; `range_hint` is where it usually lies. `temperature` turns
    scores into choices: softmax(score / temperature) over images of one prompt.
    """

    name: str
    kind: Kind
    scale: str
    range_hint: tuple[float, float]
    licence: str
    differentiable: bool
    preprocess_id: str
    tokenizer_id: str = "none"
    variant: str = ""
    needs_prompt: bool = True
    temperature: float = 1.0
    weights: tuple[WeightRef, ...] = ()

    @property
    def id(self) -> str:
        """The name with its variant, as `load_scorer` takes it."""
        return f"{self.name}:{self.variant}" if self.variant else self.name


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """One float32 score per image, in input order, and what is remarkable about each.

    A flag is a short word: `truncated` (the prompt was longer than the scorer reads),
    `not-finite`.
    """

    values: PerRow
    flags: tuple[tuple[str, ...], ...]
    info: ScorerInfo
