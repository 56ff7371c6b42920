"""Whom each row of a window is for: the user's vector, the gate, and users who disagree."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.data.prepare import pixels_of
from diffpref.data.rows import CachedRow
from diffpref.data.support import SupportSampler, UserEncoder, decided, support_pairs
from diffpref.draws import Draws, generator
from diffpref.errors import ConfigError
from diffpref.types import PreferenceBatch

Drawn = tuple[int, int]
"""(row, position that keys its draws)."""

Instead = Callable[[str | None], str | None]
"""A row's user -> whose vector the row is given."""


@dataclass(frozen=True, kw_only=True)
class Personal:
    """Adds users to the rows of a `CachedPairs`.

    support: which other choices describe a row's user.
    encode: choices to the user's vector.
    features: of every image, by hash of its pixels.
    dropout: how often a row has no user. Such a row has a gate of 0: it is the base's, and where
        only the adapter trains it teaches nothing.
    counter: how often a pair is joined by the vote of another user who chose its other image,
        drawn with the same t and noise, so that what the two users do not share is all that is
        left of their gradients. It takes the place of a row at the end of the window.
    instead: whose vector a row is given; None is its own user's. "" is nobody's: zeros, heard.
    """

    support: SupportSampler
    encode: UserEncoder
    features: Mapping[str, Float[Tensor, " d"]]
    dropout: float = 0.0
    counter: float = 0.0
    instead: Instead | None = None

    def __post_init__(self) -> None:
        if self.counter and not self._opposed:
            raise ConfigError(
                "no two users of the data chose differently between the same images",
                where="users.counter",
                hint="set users.counter: 0",
            )

    def arranged(self, drawn: Sequence[Drawn]) -> list[Drawn]:
        """Return a step's rows with some of the last replaced by the opposite of the first."""
        found, free = list(drawn), len(drawn) - 1
        for place, (row, position) in enumerate(drawn):
            if not self.counter or place >= free:
                break
            others = self._opposed.get(row, [])
            rng = generator(self.support.seed, position, "user/counter")
            if others and float(torch.rand((), generator=rng)) < self.counter:
                chosen = others[int(torch.randint(len(others), (), generator=rng))]
                found[free] = (chosen, position)
                free -= 1
        return found

    def tell(self, batch: PreferenceBatch, numbers: Sequence[int]) -> PreferenceBatch:
        """Return the batch with the vector and the gate of each row's user.

        A row without user, or whose user made no other choice, has a gate of 0.
        """
        positions = [int(each) for each in batch.positions]
        vectors = [self._vector(*each) for each in zip(numbers, positions, strict=True)]
        known = torch.tensor([vector is not None for vector in vectors])
        nothing = torch.zeros(self.encode.width)
        user = torch.stack([nothing if vector is None else vector for vector in vectors])
        kept = Draws(self.support.seed, batch.positions).uniform("user/drop") >= self.dropout
        gate = (known & kept).float()
        return replace(batch, cond=replace(batch.cond, user=user[:, None], gate=gate))

    def _vector(self, row: int, position: int) -> Float[Tensor, " u"] | None:
        own = self.support.rows[row].user
        user = own if self.instead is None else self.instead(own)
        if user == "":
            return torch.zeros(self.encode.width)
        chosen = self.support.draw(row, position, user)
        if not chosen:
            return None
        return self.encode(
            support_pairs([self.support.rows[each] for each in chosen], self.features)
        )

    @cached_property
    def _opposed(self) -> Mapping[int, list[int]]:
        """Return for every row the rows of other users who chose the other of its images."""
        winners: dict[frozenset[str], list[tuple[int, str]]] = {}
        for number, row in enumerate(self.support.rows):
            if row.user is not None and decided(row):
                images = frozenset(map(pixels_of, row.images))
                winners.setdefault(images, []).append((number, _chosen(row)))
        found: dict[int, list[int]] = {}
        for votes in winners.values():
            for number, won in votes:
                user = self.support.rows[number].user
                others = [
                    other
                    for other, theirs in votes
                    if theirs != won and self.support.rows[other].user != user
                ]
                if others:
                    found[number] = others
        return found


def _chosen(row: CachedRow) -> str:
    return pixels_of(row.images[0 if row.scores[0] > row.scores[1] else 1])
