"""What a protocol sees of one prompt, and what it says about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Images of one prompt as people judged them and as a scorer does; higher is better in both.

    `where` is the file and line, for messages.
    """

    prompt: str
    labels: tuple[float, ...]
    scores: tuple[float, ...]
    where: str = ""

    def gaps(self) -> Iterator[tuple[float, float]]:
        """Yield (label i - label j, score i - score j) for every pair i < j."""
        for i, j in combinations(range(len(self.labels)), 2):
            yield self.labels[i] - self.labels[j], self.scores[i] - self.scores[j]

    @property
    def pairs(self) -> int:
        return len(self.labels) * (len(self.labels) - 1) // 2

    @property
    def label_ties(self) -> int:
        """How many pairs people did not tell apart."""
        return sum(label == 0 for label, _ in self.gaps())


class Credit(NamedTuple):
    """`right` out of `of`, and how many pairs the rule calls a tie from their scores.

    An accuracy is sum(right) / sum(of) over items; an item with `of` 0 says nothing.
    """

    right: float
    of: float
    tied: int
