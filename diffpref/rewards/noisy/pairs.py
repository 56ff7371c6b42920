"""Voted pairs of noisy latents as they were seen: a table of looks, and rows that point there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diffpref.rewards.noisy.head import StepHead
from diffpref.types import PerRow

TABLES, PLAIN = ("features", "own"), ("t", "share", "weight")


@dataclass(frozen=True, kw_only=True)
class NoisyPairs:
    """Votes on two images of one prompt, noised to one t.

    features, own: of every noised image, as `Looked`.
    first, second: rows of those tables; t: of each pair.
    prompt: number of each pair's prompt; row: number of the vote, shared by its draws.
    share: the first image's share of the vote, 1/2 for a tie; weight: above 0.
    """

    features: Float[Tensor, "m d"]
    own: Float[Tensor, " m"]
    first: Int[Tensor, " n"]
    second: Int[Tensor, " n"]
    t: Int[Tensor, " n"]
    prompt: Int[Tensor, " n"]
    row: Int[Tensor, " n"]
    share: Float[Tensor, " n"]
    weight: Float[Tensor, " n"]

    def __len__(self) -> int:
        return self.first.shape[0]

    def rows(self, index: Int[Tensor, " m"] | Bool[Tensor, " n"]) -> "NoisyPairs":
        """Return some of the pairs; the tables stay as they are."""
        names = ("first", "second", "t", "prompt", "row", "share", "weight")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    def log_odds(self, head: StepHead) -> PerRow:
        """Return the log odds that the first image is preferred."""
        one, two = (head(self.features[at], self.own[at], self.t) for at in self._sides())
        return one - two

    def own_gap(self) -> PerRow:
        """Return the difference of the scorer's own scores."""
        one, two = (self.own[at] for at in self._sides())
        return one - two

    def _sides(self) -> tuple[Tensor, Tensor]:
        return self.first, self.second


def join(parts: Sequence[NoisyPairs]) -> NoisyPairs:
    """Concatenate pairs; prompts and votes of different parts count as different."""
    tables = {name: torch.cat([getattr(part, name) for part in parts]) for name in TABLES}
    plain = {name: torch.cat([getattr(part, name) for part in parts]) for name in PLAIN}
    places: dict[str, Tensor] = {}
    for name in ("first", "second", "prompt", "row"):
        found, start = [], 0
        for part in parts:
            column = getattr(part, name)
            found.append(column + start)
            start += len(part.own) if name in {"first", "second"} else int(column.max()) + 1
        places[name] = torch.cat(found)
    return NoisyPairs(**tables, **plain, **places)
