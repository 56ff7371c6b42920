"""Pictures on their way to a network: decoded and prepared by threads, a batch ahead of it."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from diffpref.errors import DataError
from diffpref.rewards.inputs import AnyImage, PixelRange, one_picture
from diffpref.rewards.sight import Picture

MOST_THREADS = 8
AHEAD = 2
"""Batches prepared before they are asked for."""


@dataclass(frozen=True)
class Batch:
    """What a sight made of some pictures of one size, by their numbers in the input."""

    index: list[int]
    seen: Tensor


@dataclass(frozen=True)
class Unreadable:
    """A picture that could not be opened, and why."""

    number: int
    reason: str


def stream(
    images: Iterable[AnyImage],
    look: Callable[[Picture], Tensor],
    *,
    batch_size: int,
    pixel_range: PixelRange = "unit",
    skip_bad: bool = False,
) -> Iterator[Batch | Unreadable]:
    """Yield every picture once, in batches of one size; no more than a few batches are held.

    Args:
        images: pictures in any form `as_sequence` takes.
        look: what the network sees of one picture.
        batch_size: pictures of a batch.
        pixel_range: what float tensors span.
        skip_bad: yield `Unreadable` instead of raising.

    Raises:
        DataError: an image is not usable and `skip_bad` is false.
    """

    def prepare(number: int, image: AnyImage) -> Tensor:
        return look(one_picture(image, number, pixel_range))

    waiting: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
    for number, ready in _ahead(prepare, images, batch_size * AHEAD):
        try:
            seen = ready.result()
        except DataError as error:
            if not skip_bad:
                raise
            yield Unreadable(number, str(error).splitlines()[0])
            continue
        group = waiting.setdefault(tuple(seen.shape), [])
        group.append((number, seen))
        if len(group) == batch_size:
            yield _stacked(waiting.pop(tuple(seen.shape)))
    for group in waiting.values():
        yield _stacked(group)


def _ahead(
    work: Callable[[int, AnyImage], Tensor], images: Iterable[AnyImage], ahead: int
) -> Iterator[tuple[int, "Future[Tensor]"]]:
    """Yield each image's future in order, keeping `ahead` of them under way."""
    threads = min(MOST_THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="diffpref-images")
    queue: deque[tuple[int, Future[Tensor]]] = deque()
    try:
        for number, image in enumerate(images):
            queue.append((number, pool.submit(work, number, image)))
            if len(queue) > ahead:
                yield queue.popleft()
        while queue:
            yield queue.popleft()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _stacked(group: Sequence[tuple[int, Tensor]]) -> Batch:
    seen = torch.stack([seen for _, seen in group])
    # From pinned memory the copy to a CUDA device runs beside the network's work.
    return Batch([number for number, _ in group], seen.pin_memory() if _cuda() else seen)


@cache
def _cuda() -> bool:
    return torch.cuda.is_available()
