"""A folder of immutable tensor shards: written whole, found by entry, checked by sha256."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from json import dumps
from pathlib import Path
from secrets import token_hex
from typing import Protocol, runtime_checkable

from safetensors import safe_open
from torch import Tensor

from diffpref.io import BadText, parse_json, save_tensors, write_atomic, write_json

KEY = "key.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is stored under one id: tensors by name, and a few whole numbers about them."""

    tensors: Mapping[str, Tensor]
    numbers: tuple[int, ...] = ()


@runtime_checkable
class Readable(Protocol):
    """Entries to read, on a shelf or through an index of it."""

    def __contains__(self, entry: str, /) -> bool: ...

    def numbers(self, entry: str, /) -> tuple[int, ...]: ...

    def read(self, entry: str, name: str, /) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Entries on disk. A shard counts from the moment its .json exists, which is written last.

    Several processes may add to one shelf: shards have names of their own and never change.
    """

    folder: Path
    _where: dict[str, tuple[Path, tuple[int, ...]]] = field(default_factory=dict, repr=False)
    _open: dict[Path, safe_open] = field(default_factory=dict, repr=False)

    def __contains__(self, entry: str) -> bool:
        return entry in self._where

    def __len__(self) -> int:
        return len(self._where)

    def numbers(self, entry: str) -> tuple[int, ...]:
        return self._where[entry][1]

    def shard_of(self, entry: str) -> Path:
        return self._where[entry][0]

    def read(self, entry: str, name: str) -> Tensor:
        """Return one tensor, mapped from its file."""
        path = self._where[entry][0]
        if path not in self._open:
            self._open[path] = safe_open(path, framework="pt")
        return self._open[path].get_tensor(f"{entry}.{name}")

    def put(self, entries: Mapping[str, Entry]) -> None:
        """Store entries as one shard, durably; on return they cannot be lost.

        Raises:
            DiskError: the disk is full; nothing that was there before is damaged.
        """
        if not entries:
            return
        name = blake2b("\n".join(sorted(entries)).encode(), digest_size=8).hexdigest()
        path = self.folder / f"{name}-{token_hex(4)}.safetensors"
        tensors = {
            f"{entry}.{part}": tensor
            for entry, content in entries.items()
            for part, tensor in content.tensors.items()
        }
        save_tensors(path, tensors)
        about = {
            "size": path.stat().st_size,
            "sha256": file_hash(path),
            "entries": {entry: list(content.numbers) for entry, content in entries.items()},
        }
        write_atomic(path.with_suffix(".json"), dumps(about))
        for entry, content in entries.items():
            self._where.setdefault(entry, (path, content.numbers))


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One finished shard as its .json describes it."""

    path: Path
    size: int
    sha256: str
    entries: Mapping[str, tuple[int, ...]]

    def fault(self, *, deep: bool) -> str | None:
        """Return what is wrong with the file, or None; `deep` reads all of it."""
        if not self.path.is_file():
            return "the shard is gone"
        if self.path.stat().st_size != self.size:
            return f"has {self.path.stat().st_size} bytes instead of {self.size}"
        if deep and file_hash(self.path) != self.sha256:
            return "its content does not have the recorded sha256"
        return None


def open_shelf(folder: Path, key: Mapping[str, str | int] | None = None) -> Shelf:
    """Open a shelf, making it if `key` is given; shards of the wrong size count as absent."""
    if key is not None and not (folder / KEY).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / KEY, dict(key))
    shelf = Shelf(folder=folder)
    for shard in shards(folder):
        if isinstance(shard, Shard) and shard.fault(deep=False) is None:
            for entry, numbers in shard.entries.items():
                shelf._where.setdefault(entry, (shard.path, numbers))
    return shelf


def shards(folder: Path) -> Iterator[Shard | Path]:
    """Yield every finished shard in the order of names, or the .json that cannot be understood."""
    for path in sorted(folder.glob("*.json")):
        if path.name == KEY:
            continue
        try:
            yield _shard(path)
        except (BadText, KeyError, TypeError, ValueError, AttributeError):
            yield path


def file_hash(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _shard(path: Path) -> Shard:
    about = parse_json(path.read_bytes(), path.name)
    if not isinstance(about, dict):
        raise ValueError(f"{path.name} is no object")
    entries = {str(entry): tuple(map(int, numbers)) for entry, numbers in about["entries"].items()}
    return Shard(
        path=path.with_suffix(".safetensors"),
        size=int(about["size"]),
        sha256=str(about["sha256"]),
        entries=entries,
    )
