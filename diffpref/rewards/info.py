"""What a loaded scorer says about itself and about the numbers it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from diffpref.rewards.cards import Card, Kind
from diffpref.types import PerRow

__all__ = ["Kind", "ScoreResult", "ScorerInfo", "WeightRef"]


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


def info_of(
    card: Card,
    *,
    preprocess_id: str,
    variant: str = "",
    tokenizer_id: str = "none",
    weights: tuple[WeightRef, ...] = (),
) -> ScorerInfo:
    """Return what a card says with what became known by loading."""
    return ScorerInfo(
        name=card.name,
        kind=card.kind,
        scale=card.scale,
        range_hint=card.range_hint,
        licence=card.licence,
        differentiable=card.differentiable,
        needs_prompt=card.needs_prompt,
        temperature=card.temperature,
        preprocess_id=preprocess_id,
        variant=variant,
        tokenizer_id=tokenizer_id,
        weights=weights,
    )


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """One float32 score per image, in input order, and what is remarkable about each.

    A flag is a short word: `truncated` (the prompt was longer than the scorer reads),
    `unreadable` (the image could not be opened; the score is NaN), `unparsed` (a judge's answer
    had no verdict; NaN), `not-finite`. `reasons` says more, by the image's number.
    """

    values: PerRow
    flags: tuple[tuple[str, ...], ...]
    info: ScorerInfo
    reasons: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
