"""Look after a cache folder: verify every byte, and remove what nobody needs."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from diffpref.data.cache import missing_entries
from diffpref.data.encoder import prompt_id
from diffpref.data.index import INDEX, index_fault, index_file
from diffpref.data.lock import hold
from diffpref.data.rows import list_headers, read_rows, rows_file
from diffpref.data.shelf import KEY, Shard, file_hash, open_shelf, shards
from diffpref.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What `verify` found. `problems` are sentences that begin with the file."""

    shards: int
    size: int
    data_sets: int
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What `prune` removed and what is left, in bytes and by name."""

    removed: int
    left: int
    data_sets: tuple[str, ...]


def verify(root: Path, *, progress: Callable[[int, int | None], None] | None = None) -> Verdict:
    """Check the sha256 of every shard and of every data set's rows.

    Args:
        root: cache folder.
        progress: told after every shard: shards done, shards in all.

    Raises:
        DataError: there is no cache at `root`.
    """
    _check_cache(root)
    lock = hold(root / ".lock")
    found = list(_all_shards(root))
    problems: list[str] = []
    for done, shard in enumerate(found, start=1):
        problems.extend(_problems(root, shard))
        if progress is not None:
            progress(done, len(found))
    headers = list_headers(root)
    for header in headers:
        problems.extend(_row_problems(root, header))
    if lock is not None:
        lock.close()
    return Verdict(
        shards=len(found),
        size=sum(shard.size for shard in found if isinstance(shard, Shard)),
        data_sets=len(headers),
        problems=tuple(problems),
    )


def prune(root: Path, *, max_bytes: int | None = None) -> Pruned:
    """Remove unfinished and damaged files, and shards that no data set uses.

    With `max_bytes`, data sets are forgotten too, those used longest ago first, until the shards
    that the rest needs fit; the one used last always stays.

    Raises:
        DataError: there is no cache at `root`, or another run is using it.
    """
    _check_cache(root)
    lock = hold(root / ".lock", exclusive=True, wait=False)
    before = _size(root)
    headers = sorted(list_headers(root), key=lambda each: _used(root, each), reverse=True)
    forgotten: list[str] = []
    while True:
        needed = _needed(root, headers)
        if max_bytes is None or len(headers) <= 1 or _total(needed) <= max_bytes:
            break
        last = headers.pop()
        forgotten.append(f"{last['name']} ({last['key']})")
        for ending in (".json", ".jsonl", ".bad.jsonl", ".lock", INDEX):
            rows_file(root, str(last["key"]), ending).unlink(missing_ok=True)
    _sweep(root, needed, {str(header["key"]) for header in headers})
    if lock is not None:
        lock.close()
    left = _size(root)
    return Pruned(removed=before - left, left=left, data_sets=tuple(forgotten))


def _check_cache(root: Path) -> None:
    if not (root / "rows").is_dir():
        hint = f"make one: diffpref data cache SOURCE --out {root}"
        raise DataError("there is no cache here", where=str(root), hint=hint)


def _shelves(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob(f"*/*/{KEY}"))


def _all_shards(root: Path) -> Iterator[Shard | Path]:
    for folder in _shelves(root):
        yield from shards(folder)


def _problems(root: Path, shard: Shard | Path) -> Iterator[str]:
    if isinstance(shard, Path):
        yield f"{shard.relative_to(root)}: cannot be understood"
    elif fault := shard.fault(deep=True):
        yield f"{shard.path.relative_to(root)}: {fault}"


def _row_problems(root: Path, header: dict[str, Any]) -> Iterator[str]:
    path = rows_file(root, str(header["key"]), ".jsonl")
    name = f"{path.relative_to(root)} ({header['name']})"
    if not path.is_file() or file_hash(path) != header["sha256"]:
        yield f"{name}: the rows are missing or were changed"
        return
    images = open_shelf(root / "images" / str(header["image_folder"]))
    text = open_shelf(root / "text" / str(header["text_folder"]))
    lost = missing_entries(read_rows(path), images, text)
    if lost:
        yield f"{name}: {len(lost)} latents or embeddings are missing"
        return
    with suppress(DataError):  # a shard's header is damaged, and was named already
        if fault := index_fault(root, header, images, text):
            yield f"{index_file(root, header).relative_to(root)}: {fault}"


def _used(root: Path, header: dict[str, Any]) -> float:
    return rows_file(root, str(header["key"]), ".json").stat().st_mtime


def _needed(root: Path, headers: list[dict[str, Any]]) -> set[Path]:
    """Return the shards that hold the entries of these data sets."""
    needed: set[Path] = set()
    for header in headers:
        try:
            rows = read_rows(rows_file(root, str(header["key"]), ".jsonl"))
        except (OSError, DataError):
            continue
        images = open_shelf(root / "images" / str(header["image_folder"]))
        text = open_shelf(root / "text" / str(header["text_folder"]))
        names = {prompt_id(prompt) for prompt in {row.prompt for row in rows} | {""}}
        entries = {entry for row in rows for entry in row.images}
        needed |= {images.shard_of(entry) for entry in entries if entry in images}
        needed |= {text.shard_of(name) for name in names if name in text}
    return needed


def _total(needed: set[Path]) -> int:
    return sum(path.stat().st_size for path in needed)


def _sweep(root: Path, needed: set[Path], keys: set[str]) -> None:
    """Delete every file that is neither a needed shard nor part of a data set that stays."""
    for folder in _shelves(root):
        keep = needed | {path.with_suffix(".json") for path in needed} | {folder / KEY}
        for path in folder.iterdir():
            if path not in keep:
                path.unlink()
        if not any(path.name != KEY for path in folder.iterdir()):
            rmtree(folder)
    for path in (root / "rows").iterdir():
        if path.name.split(".")[0] not in keys or path.suffix == ".parts":
            rmtree(path) if path.is_dir() else path.unlink()


def _size(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
