"""Which records a run keeps, decided row by row; only absolute winners need a look at all rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from diffpref.data.records import BadRow, Record, Row

Key = bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """What to leave out.

    ties: `drop` rows whose images all have the same score, or keep them as `soft` labels, which
        only the loss `cross_entropy` can use.
    absolute_winners: keep a row only if its best image won at least once and never lost anywhere
        in the source (NCP, 2406.17636).
    generators: keep a row only if the generator of every image contains one of these words; an
        image without generator counts with the row's `source`.
    min_side: keep a row only if every side of every image has this many pixels.
    max_rows: stop after this many kept rows.
    """

    ties: Literal["drop", "soft"] = "drop"
    absolute_winners: bool = False
    generators: tuple[str, ...] = ()
    min_side: int = 0
    max_rows: int | None = None

    def refuse(self, row: Record, losers: frozenset[Key]) -> str | None:
        """Return why a record is left out before its images are opened, or None to keep it."""
        if self.ties == "drop" and row.tied:
            return "tie"
        if self.absolute_winners and not _absolute(row, losers):
            return "no absolute winner"
        if self.generators and not all(self._made(row, index) for index in range(len(row.images))):
            return "generator"
        return None

    def refuse_sizes(self, sizes: Iterable[tuple[int, int]]) -> str | None:
        """Return why a record is left out by the sizes (height, width) of its images, or None."""
        small = any(min(size) < self.min_side for size in sizes)
        return "below min_side" if small else None

    def _made(self, row: Record, index: int) -> bool:
        maker = (row.images[index].generator or row.source or "").lower()
        return any(word.lower() in maker for word in self.generators)


def losers_of(rows: Iterable[Row]) -> frozenset[Key]:
    """Return the images that lost to another image in some row."""
    lost: set[Key] = set()
    for row in rows:
        if not isinstance(row, BadRow):
            best = max(row.scores)
            lost.update(_key(row, index) for index, score in enumerate(row.scores) if score < best)
    return frozenset(lost)


def _absolute(row: Record, losers: frozenset[Key]) -> bool:
    """Say whether a best image of the row beat another here and lost nowhere."""
    best = max(row.scores)
    won = min(row.scores) < best
    return won and any(
        score == best and _key(row, index) not in losers for index, score in enumerate(row.scores)
    )


def _key(row: Record, index: int) -> Key:
    """An image is judged for a prompt: the same picture under another prompt is another case."""
    text = f"{row.prompt}\0{row.images[index].key}"
    return blake2b(text.encode(), digest_size=12).digest()
