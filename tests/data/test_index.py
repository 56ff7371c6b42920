"""A cached data set opened through its index: the same rows and numbers, hardly any memory."""

import tracemalloc
from pathlib import Path

import pytest
import torch

from diffpref.data.batches import CachedPairs
from diffpref.data.build import build_cache
from diffpref.data.cache import Cache, open_cache
from diffpref.data.index import INDEX
from diffpref.data.plan import CacheSettings
from diffpref.data.readers import open_records
from diffpref.data.rows import read_rows, rows_file
from diffpref.data.shelf import open_shelf
from diffpref.data.writers import write_jsonl
from diffpref.io.fs import RealFs
from scripts.bench import index as synthetic
from tests.data.makers import ToyEncoder, no_time_ids, pair

BUCKETS = CacheSettings(resolution=64)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    rows = [
        *(pair(n, prompt=f"prompt {n // 2}") for n in range(6)),
        pair(6, size=(128, 32), weight=0.5, user="somebody"),
        pair(7, scores=(2.0, 1.0, 0.0)),
    ]
    source = open_records(str(write_jsonl(tmp_path / "data", rows)))
    return build_cache(source, ToyEncoder(pooled=True), tmp_path / "cache", settings=BUCKETS)


def index_of(cache: Cache) -> Path:
    return rows_file(cache.root, str(cache.header["key"]), INDEX)


def test_what_is_read_through_the_index_is_what_was_stored(cache: Cache) -> None:
    path = rows_file(cache.root, str(cache.header["key"]), ".jsonl")
    assert list(cache.rows) == cache.rows[:] == read_rows(path)
    assert cache.rows[-1] == cache.rows[7]
    with pytest.raises(IndexError):
        cache.rows[8]
    images = open_shelf(cache.root / "images" / str(cache.header["image_folder"]))
    for entry in {entry for row in cache.rows for entry in row.images}:
        assert entry in cache.images
        assert cache.images.numbers(entry) == images.numbers(entry)
        for part in ("mean", "std"):
            assert torch.equal(cache.images.read(entry, part), images.read(entry, part))
    assert "0" * 32 not in cache.images
    assert cache.weighted
    assert [(group.images, group.rows.tolist()) for group in cache.groups] == [
        (2, [0, 1, 2, 3, 4, 5]),
        (2, [6]),
        (3, [7]),
    ]


def test_an_index_that_is_lost_damaged_or_of_other_rows_is_made_anew(cache: Cache) -> None:
    path, rows = index_of(cache), cache.rows[:]
    whole = path.read_bytes()
    for damaged in (None, b"", b"\x00" * 100, whole[:-1], whole.replace(b"sha256", b"sha255")):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        assert open_cache(cache.root).rows[:] == rows
        assert path.read_bytes() == whole


def test_a_process_holds_hardly_anything_of_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RealFs, "fsync", RealFs.fsync)  # put back what `make` changes
    monkeypatch.setattr(RealFs, "sync_folder", RealFs.sync_folder)
    pairs = 200
    synthetic.make(tmp_path, pairs)
    open_cache(tmp_path).close()  # makes the index
    tracemalloc.start()
    try:
        cache = open_cache(tmp_path)
        source = CachedPairs(cache=cache, seed=0, prompts_per_step=4, time_ids=no_time_ids)
        windows = source.windows()
        next(windows)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(cache) == pairs
    assert held / pairs < 300  # the rows as objects take more than 1000
