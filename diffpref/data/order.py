"""Which rows make up a window: a function of the seed and the step, for any mix of shapes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import heapify, heapreplace
from typing import Protocol, SupportsInt, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from diffpref.draws import permutation


def evenly(efforts: Int[Tensor, " b"], ranks: int) -> list[int]:
    """Return an order in which each of `ranks` gets as much, taking every ranks-th place.

    The largest come first, and every other round is dealt backwards, so that the sums of any two
    ranks differ by no more than the largest effort and the smallest do. A function of the efforts.

    Args:
        efforts: work of each place; their number is a multiple of `ranks`.
        ranks: how many share them.
    """
    rounds = efforts.argsort(descending=True, stable=True).view(-1, ranks)
    rounds[1::2] = rounds[1::2].flip(1)
    return rounds.flatten().tolist()


@runtime_checkable
class Numbers(Protocol):
    """Row numbers: a list, or an array that is mapped."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> SupportsInt: ...


@dataclass(frozen=True, kw_only=True)
class Order:
    """The endless sequence of windows over groups of rows that can share a window.

    Rows of one window must have the same number of images and the same latent size, so every such
    group is its own endless stream: its epochs, each a permutation by (seed, epoch), one after the
    other, cut into windows of `size`. A window may therefore straddle two epochs of its group, and
    no row is left out or repeated within an epoch. Groups take turns in proportion to their sizes:
    the j-th window of a group of n out of N rows is due at (2 j + 1) N / 2 n, and windows come in
    the order they are due, ties to the earlier group.
    """

    groups: Sequence[Numbers]
    seed: int
    size: int

    def windows(self, first: int = 0) -> Iterator[list[int]]:
        """Yield the row numbers of every window from step `first` on, for ever."""
        for window in self.visits(first):
            yield [row for row, _ in window]

    def visits(self, first: int = 0) -> Iterator[list[tuple[int, int]]]:
        """Yield (row number, how often the row came before) of every window from `first` on."""
        epochs: dict[int, tuple[int, Tensor]] = {}
        for step, (group, turn) in enumerate(self._turns()):
            if step >= first:
                yield self._rows(group, turn, epochs)

    def _turns(self) -> Iterator[tuple[int, int]]:
        """Yield (group, how many windows it had before) in the order windows are due."""
        total = sum(map(len, self.groups))
        waiting = [
            (Fraction(total, 2 * len(rows)), group) for group, rows in enumerate(self.groups)
        ]
        turns = [0] * len(self.groups)
        heapify(waiting)
        while True:
            due, group = waiting[0]
            yield group, turns[group]
            turns[group] += 1
            heapreplace(waiting, (due + Fraction(total, len(self.groups[group])), group))

    def _rows(
        self, group: int, turn: int, epochs: dict[int, tuple[int, Tensor]]
    ) -> list[tuple[int, int]]:
        """Return a window; `epochs` keeps the order each group is in, which is dear to draw."""
        rows = self.groups[group]
        numbers: list[tuple[int, int]] = []
        at, end = turn * self.size, (turn + 1) * self.size
        while at < end:
            epoch, offset = divmod(at, len(rows))
            if epochs.get(group, (None,))[0] != epoch:
                epochs[group] = epoch, permutation(self.seed, epoch, len(rows)).int()
            order = epochs[group][1][offset : offset + end - at].tolist()
            numbers.extend((int(rows[index]), epoch) for index in order)
            at += len(order)
        return numbers
