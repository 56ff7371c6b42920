"""How fast cached pairs are read on this machine."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from diffpref.config.schema import RunConfig
from diffpref.data.batches import CachedPairs
from diffpref.data.cache import Cache, open_cache
from diffpref.data.rows import list_headers
from diffpref.errors import ConfigError

WINDOWS = 8


@dataclass(frozen=True, kw_only=True)
class ReadSpeed:
    """What reading windows of a data set took.

    cold: pairs a second, their shards out of the system's memory; None where it cannot be told to
    forget them. warm: the same pairs again.
    """

    pairs: int
    rows: int
    cold: float | None
    warm: float

    def slower(self, step: float) -> float:
        """Return how many times as long steps take that make `step` pairs a second and read."""
        return 1 + step / self.warm


def read_speed(config: RunConfig, name: str | None = None, windows: int = WINDOWS) -> ReadSpeed:
    """Read the first windows of a configuration's cache twice, in this thread, as a run does.

    Args:
        config: what to run; its data must be cached.
        name: of a data set in the cache, where there are several.
        windows: how many steps' pairs to read.

    Raises:
        ConfigError: the run learns from its own samples.
        DataError: nothing is cached, or several data sets are.
    """
    data = config.data
    if data is None:
        what, hint = "this run samples what it learns from", "time a run with `data`"
        raise ConfigError(what, where="rollout", hint=hint)
    root = Path(data.cache)
    known = [header["name"] for header in list_headers(root)]
    forgotten = all(_forget(path) for path in _shards(root))
    cache = open_cache(root, name or (data.source if data.source in known else None))
    try:
        prompts = data.pairs_per_batch * config.loop.micro_batches
        first = _rate(cache, config.seed, prompts, windows)
        again = _rate(cache, config.seed, prompts, windows)
    finally:
        cache.close()
    return ReadSpeed(
        pairs=prompts * windows, rows=len(cache), cold=first if forgotten else None, warm=again
    )


def _rate(cache: Cache, seed: int, prompts: int, windows: int) -> float:
    source = CachedPairs(cache=cache, seed=seed, prompts_per_step=prompts, time_ids=_untold)
    began = time.perf_counter()
    for _ in islice(source.windows(), windows):
        pass
    return prompts * windows / (time.perf_counter() - began)


def _untold(original: torch.Tensor, crop: torch.Tensor, target: torch.Tensor) -> None:
    """Stand for what a family is told of sizes; it is arithmetic on a few numbers."""
    del original, crop, target


def _shards(root: Path) -> Iterator[Path]:
    for kind in ("images", "text"):
        yield from (root / kind).glob("*/*.safetensors")


def _forget(path: Path) -> bool:
    """Ask the system to forget a file's pages; say whether it was asked."""
    if not hasattr(os, "posix_fadvise"):  # absent on macOS and Windows
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)  # only what is on the disk can be forgotten
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
    return True
