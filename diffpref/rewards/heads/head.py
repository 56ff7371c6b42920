"""A trained head: what everyone shares, and a few weights for each person it knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.errors import UsageError, nearest
from diffpref.rewards.heads import HEADS
from diffpref.rewards.heads.items import Items, features
from diffpref.rewards.heads.kind import HeadKind, Shape, Shared, Weights
from diffpref.rewards.heads.pairs import NOBODY, Pairs
from diffpref.types import PerRow

EMBEDDING = "@embedding"
"""After the name of a further scorer whose image embedding is read, not its score."""

CHUNK = 8192
"""Rows judged at once, so that features of a large data set are never in memory together."""


@dataclass(frozen=True, kw_only=True)
class ExtraRef:
    """A further scorer a head reads: its name in `--features`, how many numbers, and a hash."""

    name: str
    width: int
    fingerprint: str

    @property
    def embeds(self) -> bool:
        """Whether it is an embedding, not a score."""
        return self.name.endswith(EMBEDDING)


@dataclass(frozen=True, kw_only=True)
class EmbedderRef:
    """Whose embeddings a head reads: the scorer's id, and a hash of its weights and reading.

    extras: what else it reads of a picture, in the order of the columns after the embedding.
    """

    scorer: str
    fingerprint: str
    extras: tuple[ExtraRef, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head of one kind on one embedder.

    `offsets` are people's weights minus everyone's, in the order of `people`; `precision` is the
    inverse covariance a new person's are expected to have. Log odds are divided by `temperature`,
    which was fitted on validation pairs so that a probability means what it says.
    """

    name: str
    shape: Shape
    embedder: EmbedderRef
    scales: Mapping[str, Tensor]
    shared: Shared
    people: tuple[str, ...]
    offsets: Float[Tensor, "u k"]
    precision: Float[Tensor, "k k"]
    temperature: float = 1.0

    @property
    def kind(self) -> HeadKind:
        return HEADS[self.name]

    def reward(
        self,
        image_embeddings: Float[Tensor, "n d"],
        prompt_embeddings: Float[Tensor, "n p"],
        user: str | None = None,
    ) -> PerRow:
        """Return what pictures are worth to a person; a difference is the log odds of a choice.

        Args:
            image_embeddings: as the embedder gives them, and then as its extras do.
            prompt_embeddings: of each picture's prompt.
            user: one of `people`; None is everyone.

        Raises:
            UsageError: the head judges pairs only, or does not know the person.
        """
        reward = self.kind.reward
        if reward is None:
            hint = "compare two pictures with log_odds, or train another head"
            raise UsageError(f"{self.name} judges pairs only", where="head", hint=hint)
        items = Items(image=image_embeddings, prompt=prompt_embeddings)
        weights = self.weights([user]).expand(len(items), -1)
        return reward(self.shared, features(items, self.scales), weights) / self.temperature

    def log_odds(self, first: Items, second: Items, weights: Weights) -> PerRow:
        """Return the log odds that each first item is preferred to the second."""
        one, two = features(first, self.scales), features(second, self.scales)
        return self.kind.logit(self.shared, one, two, weights) / self.temperature

    def weights(self, people: Sequence[str | None]) -> Float[Tensor, "m k"]:
        """Return people's weights; None is everyone.

        Raises:
            UsageError: the head does not know a person.
        """
        rows = torch.tensor([NOBODY if name is None else self._place(name) for name in people])
        return self._rows(rows)

    def weights_of(self, pairs: Pairs) -> Weights:
        """Return the weights of every pair's voter; a voter it does not know is everyone."""
        known = {name: place for place, name in enumerate(self.people)}
        places = torch.tensor([*(known.get(name, NOBODY) for name in pairs.people), NOBODY])
        return self._rows(places[pairs.person])

    @torch.no_grad()
    def judge(self, pairs: Pairs) -> PerRow:
        """Return the log odds of every pair for its voter, without gradient."""
        found: list[Tensor] = []
        for start in range(0, len(pairs), CHUNK):
            part = pairs.rows(torch.arange(start, min(start + CHUNK, len(pairs))))
            found.append(self.log_odds(*part.sides(), self.weights_of(part)))
        return torch.cat(found) if found else torch.zeros(0)

    def with_person(self, name: str, offset: Float[Tensor, " k"]) -> "Head":
        """Return this head with one more person, or another opinion of one it knows."""
        if name in self.people:
            offsets = self.offsets.clone()
            offsets[self.people.index(name)] = offset
            return replace(self, offsets=offsets)
        offsets = torch.cat([self.offsets, offset[None].to(self.offsets)])
        return replace(self, people=(*self.people, name), offsets=offsets)

    def _rows(self, places: Int[Tensor, " m"]) -> Weights:
        """Return everyone's weights plus the offsets at `places`, of which NOBODY has none."""
        padded = torch.cat([self.offsets, self.offsets.new_zeros(1, self.offsets.shape[1])])
        return self.shared.get("everyone", padded[NOBODY]) + padded[places]

    def _place(self, name: str) -> int:
        if name not in self.people:
            hint = f"fit the person with fit_user first; {nearest(name, self.people)[:200]}"
            raise UsageError(f"the head knows no person '{name}'", where="user", hint=hint)
        return self.people.index(name)
