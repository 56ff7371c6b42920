r"""`ensemble`: a weighted sum of several scorers, each normalised as declared.

    s = \sum_i w_i unit_i(s_i),   unit(s) = (s - mean) / std, or a range of s clipped to 0..1

Each member sees pictures in its own way, as it does alone; the sum has a gradient if every member
has one. A member without a verdict (NaN) leaves the sum without one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from diffpref.rewards.ensemble.sight import Together, alike, unpack
from diffpref.rewards.info import ScorerInfo
from diffpref.rewards.model import Explains, ScoringModel
from diffpref.types import PerRow


@runtime_checkable
class Unit(Protocol):
    """What takes the unit off a scorer's scores."""

    def unit(self, scores: PerRow) -> PerRow: ...


@dataclass(frozen=True, kw_only=True)
class Member:
    """A scorer and its place in the sum."""

    model: ScoringModel
    weight: float
    spread: Unit


@dataclass(frozen=True, kw_only=True)
class EnsembleModel:
    """The weighted sum of its members."""

    info: ScorerInfo
    members: tuple[Member, ...]

    @property
    def sight(self) -> Together:
        return Together(sights=tuple(member.model.sight for member in self.members))

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        """Return the sums, on the device of `seen`."""
        rows, order = [], []
        for group in alike(seen):
            parts = unpack(seen[group])
            asked = tuple(prompts[number] for number in group)
            terms = [
                member.weight * member.spread.unit(self._term(member, part, asked))
                for member, part in zip(self.members, parts, strict=True)
            ]
            rows.append(torch.stack([term.to(seen.device) for term in terms]).sum(dim=0))
            order += group
        back = torch.tensor(order, device=seen.device).argsort()
        return torch.cat(rows)[back]

    def explain(self, seen: Tensor, prompts: tuple[str, ...], /) -> list[str]:
        """Return which member has no verdict about each picture, and why."""
        found = [""] * len(prompts)
        for group in alike(seen):
            asked = tuple(prompts[number] for number in group)
            for member, part in zip(self.members, unpack(seen[group]), strict=True):
                if not isinstance(member.model, Explains):
                    continue
                for number, why in zip(group, member.model.explain(part, asked), strict=True):
                    told = f"{member.model.info.id}: {why}" if why else ""
                    found[number] = "; ".join(filter(None, (found[number], told)))
        return found

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        """Return which prompts some member cuts."""
        each = [member.model.overlong(prompts) for member in self.members]
        return [any(row) for row in zip(*each, strict=True)]

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "EnsembleModel":
        moved = [replace(each, model=each.model.to(device, dtype)) for each in self.members]
        return replace(self, members=tuple(moved))

    def _term(self, member: Member, part: Tensor, prompts: tuple[str, ...]) -> PerRow:
        return member.model.judge(part, prompts).float()
