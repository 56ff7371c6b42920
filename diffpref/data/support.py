"""What describes a user to a row: some of the user's other choices, never the row or its images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.data.prepare import pixels_of
from diffpref.data.rows import CachedRow
from diffpref.draws import generator

STREAM = "user/support"
PARTS = "user/parts"


@dataclass(frozen=True, kw_only=True)
class SupportPair:
    """One choice of a user, as a user encoder sees it.

    `chosen` and `rejected` are features of the images; `images` are hashes of their pixels, the
    chosen one's first. `user` is the name in the data: encoders that only look must not use it.
    """

    prompt: str
    chosen: Float[Tensor, " d"]
    rejected: Float[Tensor, " d"]
    images: tuple[str, str]
    user: str
    weight: float = 1.0


@runtime_checkable
class UserEncoder(Protocol):
    """Choices of one user -> the user's vector, float32.

    width: numbers of the vector. fingerprint: changes when the vectors would.
    """

    @property
    def width(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def __call__(self, support: Sequence[SupportPair], /) -> Float[Tensor, " u"]: ...


@runtime_checkable
class Profile(Protocol):
    """What is read of a user's profile: its vector, float32, and the encoder's fingerprint."""

    @property
    def embedding(self) -> Float[Tensor, " u"]: ...

    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class SupportSampler:
    """Draws support rows for any row, as a function of (seed, position).

    rows: the data set. sizes: how many choices a user is described by; each row draws one of them
    and takes all there are where there are fewer. seed: the run's. parted: for encoders that are
    dear: a user's choices are cut once into disjoint parts of each size, and a row draws a whole
    part, so that few different sets are ever encoded (as PPD, 2501.06655, does).
    """

    rows: Sequence[CachedRow]
    sizes: Sequence[int]
    seed: int
    parted: bool = False

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"users.support must name sizes of at least 1, got {self.sizes}")

    @cached_property
    def users(self) -> tuple[str, ...]:
        """Who made at least one choice, in the order of first sight."""
        return tuple(self._choices)

    @cached_property
    def _choices(self) -> Mapping[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number, row in enumerate(self.rows):
            if row.user is not None and decided(row):
                found.setdefault(row.user, []).append(number)
        return found

    @cached_property
    def _seen(self) -> Sequence[frozenset[str]]:
        return [frozenset(map(pixels_of, row.images)) for row in self.rows]

    def candidates(self, row: int, user: str | None = None) -> list[int]:
        """Return the user's choices that share no image with the row; its own user by default."""
        whose = self.rows[row].user if user is None else user
        known = self._choices.get(whose, []) if whose is not None else []
        return [each for each in known if each != row and not self._seen[each] & self._seen[row]]

    def draw(self, row: int, position: int, user: str | None = None) -> list[int]:
        """Return the support of a row whose draws are keyed by `position`."""
        found = self.candidates(row, user)
        rng = generator(self.seed, position, STREAM)
        size = self.sizes[int(torch.randint(len(self.sizes), (), generator=rng))]
        if self.parted:
            whose = self.rows[row].user if user is None else user
            options = self._options(found, whose, size)
            return options[int(torch.randint(len(options), (), generator=rng))] if options else []
        order = torch.randperm(len(found), generator=rng)[:size]
        return [found[int(place)] for place in order]

    def drawable(self) -> list[list[int]]:
        """Return the sets that rows can draw where `parted`: of every user with several parts."""
        found = {
            tuple(part)
            for user in self.users
            for size in self.sizes
            for part in self._parts(user, size)
        }
        for number, row in enumerate(self.rows):
            for size in self.sizes if row.user is not None else ():
                if len(self._choices.get(row.user or "", [])) <= 2 * size:
                    known = self.candidates(number)
                    found |= {tuple(part) for part in self._options(known, row.user, size)}
        return [list(part) for part in sorted(found)]

    def _options(self, allowed: Sequence[int], user: str | None, size: int) -> list[list[int]]:
        """Return the parts a row may draw: those it spares, else what is left of the others."""
        free, parts = set(allowed), self._parts(user, size) if user is not None else []
        whole = [part for part in parts if free.issuperset(part)]
        rest = ([each for each in part if each in free] for part in parts)
        return whole or [part for part in rest if part]

    def _parts(self, user: str, size: int) -> list[list[int]]:
        """Return a user's choices in an order of their own, cut into parts of a size."""
        known = self._choices.get(user, [])
        if not known:
            return []
        order = torch.randperm(len(known), generator=generator(self.seed, known[0], PARTS))
        mixed = [known[int(place)] for place in order]
        return [mixed[start : start + size] for start in range(0, len(mixed), size)]


def decided(row: CachedRow) -> bool:
    """Tell whether somebody chose one of two images."""
    return len(row.images) == 2 and row.scores[0] != row.scores[1]


def support_pairs(
    rows: Iterable[CachedRow], features: Mapping[str, Float[Tensor, " d"]]
) -> list[SupportPair]:
    """Return decided rows as an encoder sees them; features are by hash of the pixels."""
    found: list[SupportPair] = []
    for row in rows:
        first, second = map(pixels_of, row.images)
        won, lost = (first, second) if row.scores[0] > row.scores[1] else (second, first)
        found.append(
            SupportPair(
                prompt=row.prompt,
                chosen=features[won],
                rejected=features[lost],
                images=(won, lost),
                user=row.user or "",
                weight=row.weight,
            )
        )
    return found
