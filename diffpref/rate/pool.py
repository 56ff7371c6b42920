"""The pairs that may be asked, which can grow while a model is still making pictures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from logging import getLogger
from math import comb
from threading import Event, Lock, Thread

import torch

from diffpref.draws import generator
from diffpref.errors import DiffprefError
from diffpref.rate.pair import Pair, Picture, pair_of

MOST = 4000
"""Pairs that may be asked of one prompt; of more, as many are drawn."""

Check = Callable[[Sequence[Pair]], Sequence[Pair]]
"""Pairs -> those that can be shown."""


class Pool:
    """Pairs by id, in the order they came."""

    def __init__(self, *, check: Check = list) -> None:
        """Begin empty; `check` is asked of all pairs before they enter."""
        self._check = check
        self._pairs: dict[str, Pair] = {}
        self._lock = Lock()
        self._thread: Thread | None = None
        self._stop = Event()
        self.fault: str | None = None

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def growing(self) -> bool:
        """Whether more pairs may still come."""
        return self._thread is not None and self._thread.is_alive()

    def get(self, name: str) -> Pair | None:
        return self._pairs.get(name)

    def pairs(self) -> list[Pair]:
        """Return all pairs there are so far."""
        with self._lock:
            return list(self._pairs.values())

    def add(self, pairs: Sequence[Pair]) -> None:
        """Let pairs in; one whose id is here changes nothing."""
        good = self._check([pair for pair in pairs if pair.id not in self._pairs])
        with self._lock:
            for pair in good:
                self._pairs.setdefault(pair.id, pair)

    def grow(self, parts: Iterable[Sequence[Pair]]) -> None:
        """Let pairs in from another thread, part by part as they are made; an error ends it."""

        def work() -> None:
            try:
                for part in parts:
                    if self._stop.is_set():
                        return
                    self.add(part)
            except Exception as error:
                # Nobody waits for this thread: what it has to say is shown on the page.
                told = str(error) if isinstance(error, DiffprefError) else repr(error)
                self.fault = told
                getLogger(__name__).error("no more pictures: %s", told)

        self._thread = Thread(target=work, name="pool", daemon=True)
        self._thread.start()

    def halted(self) -> bool:
        """Say whether no more are wanted."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Let in no more."""
        self._stop.set()

    def wait(self) -> None:
        """Wait until nothing is being made."""
        if self._thread is not None:
            self._thread.join()


def every_two(
    groups: Iterable[tuple[str, Sequence[Picture]]], *, seed: int, source: str | None = None
) -> Iterator[Pair]:
    """Yield every two different pictures of each prompt; of more than MOST, as many by chance."""
    for prompt, pictures in groups:
        different = list({each.key: each for each in pictures}.values())
        for one, two in _places(len(different), seed):
            yield pair_of(prompt, different[one], different[two], source=source)


def shuffled(pairs: Iterable[Pair], *, seed: int) -> list[Pair]:
    """Return pairs in an order that the seed decides."""
    found = list(pairs)
    order = torch.randperm(len(found), generator=generator(seed, 0, "rate/order"))
    return [found[row] for row in order.tolist()]


def _places(count: int, seed: int) -> Iterator[tuple[int, int]]:
    if comb(count, 2) <= MOST:
        yield from combinations(range(count), 2)
        return
    rng = generator(seed, count, "rate/pairs")
    seen: set[tuple[int, int]] = set()
    while len(seen) < MOST:
        one, two = sorted(torch.randint(count, (2,), generator=rng).tolist())
        if one < two and (one, two) not in seen:
            seen.add((one, two))
            yield one, two
