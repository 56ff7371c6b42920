"""Pruning: what is removed, and what never is."""

import os
from pathlib import Path

import pytest

from diffpref.data.build import build_cache
from diffpref.data.cache import Cache, open_cache
from diffpref.data.care import prune, verify
from diffpref.data.plan import CacheSettings
from diffpref.data.readers import open_records
from diffpref.data.writers import write_jsonl
from diffpref.errors import DataError
from tests.data.makers import ToyEncoder, pair


def made(tmp_path: Path, name: str, numbers: range, *, age: int = 0) -> Cache:
    source = write_jsonl(tmp_path / name, [pair(n) for n in numbers])
    cache = build_cache(
        open_records(str(source)),
        ToyEncoder(),
        tmp_path / "cache",
        settings=CacheSettings(shard=4),
    )
    cache.close()
    header = cache.root / "rows" / f"{cache.header['key']}.json"
    os.utime(header, (1e9 - age, 1e9 - age))
    return cache


def test_pruning_a_whole_cache_removes_nothing_that_is_used(tmp_path: Path) -> None:
    made(tmp_path, "a", range(4))
    made(tmp_path, "b", range(2, 6))
    prune(tmp_path / "cache")
    assert verify(tmp_path / "cache").problems == ()
    assert verify(tmp_path / "cache").data_sets == 2


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    cache = made(tmp_path, "a", range(2))
    (images,) = (cache.root / "images").iterdir()
    leftovers = [
        images / ".tmp-123-abc",
        images / "0000-unfinished.safetensors",
        cache.root / "rows" / "0123.bad.jsonl",
    ]
    for path in leftovers:
        path.write_bytes(b"x" * 100)
    (cache.root / "rows" / "0123.parts").mkdir()
    (cache.root / "rows" / "0123.parts" / "000000.json").write_text("{}")
    report = prune(cache.root)
    assert report.removed >= 302
    assert not any(path.exists() for path in leftovers)
    assert not (cache.root / "rows" / "0123.parts").exists()
    assert verify(cache.root).problems == ()


def test_above_the_limit_the_oldest_data_sets_go_first(tmp_path: Path) -> None:
    old = made(tmp_path, "old", range(4), age=100)
    new = made(tmp_path, "new", range(10, 14))
    size = verify(tmp_path / "cache").size
    report = prune(tmp_path / "cache", max_bytes=size - 1)
    assert report.data_sets == (f"{old.header['name']} ({old.header['key']})",)
    left = open_cache(tmp_path / "cache")
    assert left.rows[:] == new.rows[:]
    left.close()
    assert verify(tmp_path / "cache").problems == ()
    assert report.left < size


def test_the_data_set_used_last_stays_whatever_the_limit(tmp_path: Path) -> None:
    made(tmp_path, "old", range(4), age=100)
    new = made(tmp_path, "new", range(10, 14))
    prune(tmp_path / "cache", max_bytes=0)
    assert open_cache(tmp_path / "cache").rows[:] == new.rows[:]


def test_a_cache_in_use_is_not_pruned(tmp_path: Path) -> None:
    made(tmp_path, "a", range(2))
    used = open_cache(tmp_path / "cache")
    with pytest.raises(DataError, match="another run is using this cache"):
        prune(tmp_path / "cache")
    used.close()
    prune(tmp_path / "cache")


def test_verify_names_a_folder_that_is_no_cache(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no cache here"):
        verify(tmp_path)
    with pytest.raises(DataError, match="no cache here"):
        prune(tmp_path)
