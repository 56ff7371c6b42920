"""Pairs of pictures that a model makes while earlier ones are being rated."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from diffpref import __version__
from diffpref.errors import DataError
from diffpref.evaluate.candidates import make_candidates
from diffpref.evaluate.opened import Opened
from diffpref.models.sample_settings import SampleSettings
from diffpref.rate.pair import Pair, Picture, picture_of
from diffpref.rate.pool import every_two

Turn = AbstractContextManager[bool]
"""A `threading.Lock`, which in Python 3.11 is no type: held while a model works."""

Halted = Callable[[], bool]
"""Says whether to make no more pictures; asked after every few."""

SAMPLES = "samples"
"""Folder below --out for the pictures made."""

TOGETHER = 4
"""Prompts whose pictures are made before they can be asked."""


class _Halt(Exception):  # noqa: N818 (a way out of the middle of a batch of files)
    pass


def made_pictures(
    opened: Opened,
    settings: SampleSettings,
    prompts: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    *,
    lock: Turn,
    halted: Halted,
) -> Iterator[dict[tuple[int, int], Picture]]:
    """Yield pictures by (place of the prompt, seed), a few prompts at a time; stopped, it goes on.

    Args:
        opened: the model.
        settings: how it samples.
        prompts: different from each other.
        seeds: one picture of each prompt per seed.
        folder: where the files go.
        lock: held while the model works.
        halted: ends it between two batches.

    Raises:
        DataError: a file of that name is there and was made otherwise.
    """
    with suppress(_Halt):
        yield from _parts(opened, settings, prompts, seeds, folder, lock=lock, halted=halted)


def _parts(
    opened: Opened,
    settings: SampleSettings,
    prompts: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    *,
    lock: Turn,
    halted: Halted,
) -> Iterator[dict[tuple[int, int], Picture]]:
    def between(done: int, total: int | None) -> None:
        del done, total
        if halted():
            raise _Halt

    for start in range(0, len(prompts), TOGETHER):
        end = min(start + TOGETHER, len(prompts))
        with lock:
            files = make_candidates(
                opened,
                settings,
                prompts[:end],
                seeds,
                folder,
                version=__version__,
                progress=between,
            )
        places = [(p, seed) for p in range(end) for seed in seeds]
        new = zip(places[start * len(seeds) :], files[start * len(seeds) :], strict=True)
        yield {place: picture_of(file) for place, file in new}


def made_pairs(
    opened: Opened,
    settings: SampleSettings,
    prompts: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    lock: Turn,
    halted: Halted,
) -> Iterator[list[Pair]]:
    """Yield every two pictures of each prompt, a few prompts at a time, as they are made."""
    folder = out / SAMPLES
    parts = made_pictures(opened, settings, prompts, seeds, folder, lock=lock, halted=halted)
    for part in parts:
        groups: dict[str, list[Picture]] = {}
        for (p, _), picture in part.items():
            groups.setdefault(prompts[p], []).append(picture)
        yield list(every_two(groups.items(), seed=0, source=opened.name))


def different(prompts: Sequence[str]) -> list[str]:
    """Return every prompt once.

    Raises:
        DataError: there is none.
    """
    found = list(dict.fromkeys(prompts))
    if not found:
        raise DataError("holds no prompts", where="--prompts", hint="write one prompt per line")
    return found
