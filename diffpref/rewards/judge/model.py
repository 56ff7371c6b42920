"""`vlm-judge`: a vision-language model asked for its opinion, as a scorer.

    pointwise  s = the number the judge says
    pairwise   p(first) = (v(first, second) + 1 - v(second, first)) / 2,   v in {0, 1/2, 1}

Judges favour a place: every pair is asked in both orders, and how much the first place wins is
counted. A picture travels as a PNG of its own size. The judge is asked for its likeliest answer
(temperature 0); servers need not give the same one twice, which the journal of answers hides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from logging import getLogger
from math import isnan

import torch
from torch import Tensor

from diffpref.rewards.info import ScorerInfo
from diffpref.rewards.judge.desk import Desk, Question
from diffpref.rewards.pictures import AS_IT_IS
from diffpref.rewards.sight import Seen
from diffpref.types import PerRow


@dataclass(frozen=True, kw_only=True)
class PointwiseJudge:
    """A judge that gives one picture a number."""

    info: ScorerInfo
    desk: Desk
    sight: Seen = AS_IT_IS

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        """Return the judge's numbers; NaN where an answer has no verdict.

        Raises:
            EndpointError: the judge cannot be reached.
        """
        questions = [Question((s,), p) for s, p in zip(seen, prompts, strict=True)]
        return torch.tensor(self.desk.verdicts(questions), dtype=torch.float32)

    def explain(self, seen: Tensor, prompts: tuple[str, ...], /) -> list[str]:
        """Return why each picture has no verdict; empty where it has one."""
        return [
            self.desk.reason(Question((picture,), prompt))
            for picture, prompt in zip(seen, prompts, strict=True)
        ]

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "PointwiseJudge":
        """Return itself: it computes where its server is."""
        del device, dtype
        return self


@dataclass
class PlaceBias:
    """How pairs shown in both orders were answered.

    Attributes:
        pairs: pairs with a verdict in both orders.
        first: how often, of both orders, the picture shown first won; a tie counts one half.
        contradicted: pairs in which both orders named the same place, so the verdict is 1/2.
    """

    pairs: int = 0
    first: float = 0.0
    contradicted: int = 0

    @property
    def share(self) -> float:
        """Return the share of verdicts that the first place won; 1/2 is no bias."""
        return self.first / (2 * self.pairs) if self.pairs else 0.5

    def told(self) -> dict[str, int | float]:
        """Return the counts and the share as a report has them."""
        return {"pairs": self.pairs, "first_share": self.share, "contradicted": self.contradicted}

    def count(self, one: float, other: float) -> None:
        """Count the verdicts about the first shown in both orders, unless one is NaN."""
        if isnan(one) or isnan(other):
            return
        self.pairs += 1
        self.first += one + other
        self.contradicted += int(one == other != 0.5)


@dataclass(frozen=True, kw_only=True)
class PairwiseJudge:
    """A judge that compares two pictures, asked in both orders."""

    info: ScorerInfo
    desk: Desk
    sight: Seen = AS_IT_IS
    bias: PlaceBias = field(default_factory=PlaceBias)

    def prefer(self, first: Tensor, second: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        """Return the probability that each first picture is preferred; NaN without a verdict.

        Raises:
            EndpointError: the judge cannot be reached.
        """
        pairs = list(zip(first, second, prompts, strict=True))
        there = [Question((a, b), prompt) for a, b, prompt in pairs]
        back = [Question((b, a), prompt) for a, b, prompt in pairs]
        found = self.desk.verdicts([*there, *back])
        for one, other in zip(found[: len(pairs)], found[len(pairs) :], strict=True):
            self.bias.count(one, other)
        told = "of %d pairs shown in both orders the first place won %.0f%%, %d contradicted"
        bias = self.bias
        getLogger(__name__).info(told, bias.pairs, 100 * bias.share, bias.contradicted)
        one, other = torch.tensor(found, dtype=torch.float32).view(2, len(pairs))
        return (one + 1 - other) / 2

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "PairwiseJudge":
        """Return itself: it computes where its server is."""
        del device, dtype
        return self
