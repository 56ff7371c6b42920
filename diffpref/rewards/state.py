"""Reads the tensors of a scorer from a file, a folder, shards or a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import Any

from torch import Tensor

from diffpref.errors import DataError
from diffpref.io import BadText, read_json, safe_load_weights
from diffpref.rewards.info import WeightRef
from diffpref.rewards.resolve import ENDINGS

WRAPPERS = ("state_dict", "model", "module")
"""Entries under which training checkpoints keep their weights."""

PREFIXES = ("module.", "_orig_mod.", "model.")

State = dict[str, Tensor]


class WeightsMismatchError(DataError):
    """The weights are another model's."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Tensors by name, the files they came from, and the folder's config if there is one."""

    state: State
    files: tuple[Path, ...]
    config: Mapping[str, Any]
    where: str

    def refs(self, layout: str) -> tuple[WeightRef, ...]:
        """Return the files by content."""
        return tuple(
            WeightRef(file=path.name, sha256=_digest_of(path), layout=layout) for path in self.files
        )


def read_state(path: Path) -> Stored:
    """Read a weights file, or the weights of a folder, sharded or not.

    Raises:
        DataError: nothing there, or damaged.
        UnsafeFileError: a file that could run code.
    """
    if not path.is_dir():
        return Stored(state=_tensors(path), files=(path,), config={}, where=str(path))
    files = weight_files(path)
    state: State = {}
    for file in files:
        state |= _tensors(file)
    config = read_config(path / "config.json") if (path / "config.json").is_file() else {}
    return Stored(state=state, files=files, config=config, where=str(path))


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a folder that hold its model: shards of an index, or the best single one.

    Raises:
        DataError: none, or a shard is missing.
    """
    for index in sorted(folder.glob("*.index.json")):
        names = sorted(set(read_config(index).get("weight_map", {}).values()))
        lost = [name for name in names if not (folder / name).is_file()]
        if lost:
            hint = "the download is incomplete: fetch the folder again"
            raise DataError(f"{lost[0]} is missing", where=str(folder), hint=hint)
        if names:
            return tuple(folder / name for name in names)
    files = [each for each in folder.iterdir() if each.suffix in ENDINGS]
    files.sort(key=lambda each: (ENDINGS.index(each.suffix), each.name))
    if not files:
        hint = f"weights end in {', '.join(ENDINGS)}"
        raise DataError("holds no weights", where=str(folder), hint=hint)
    return (files[0],)


def read_config(path: Path) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: not readable, or not an object.
    """
    try:
        found = read_json(path)
    except (OSError, BadText) as error:
        hint = "fetch or build the scorer again"
        raise DataError(f"cannot be read: {error}", where=str(path), hint=hint) from error
    if not isinstance(found, dict):
        raise DataError("is not a JSON object", where=str(path), hint="fetch it again")
    return found


def bare(state: State, *, prefixes: Sequence[str] = PREFIXES) -> State:
    """Take off prefixes that every name carries, one after another."""
    while state:
        shared = [p for p in prefixes if all(name.startswith(p) for name in state)]
        if not shared:
            break
        state = {name.removeprefix(shared[0]): value for name, value in state.items()}
    return state


def under(state: State, prefix: str) -> State:
    """Return the tensors below a prefix, without it."""
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def count(state: State) -> int:
    """Return how many numbers there are."""
    return sum(value.numel() for value in state.values())


def mismatch(
    where: str, layout: str, missing: Sequence[str], unexpected: Sequence[str], hint: str
) -> WeightsMismatchError:
    """Return the error for weights that do not fill a network."""
    told = [
        f"{len(names)} {word}: {', '.join(sorted(names)[:5])}"
        for word, names in (("missing", missing), ("unexpected", unexpected))
        if names
    ]
    what = f"read as {layout}, these weights do not fit ({'; '.join(told)})"
    return WeightsMismatchError(what, where=where, hint=hint)


def _tensors(path: Path) -> State:
    return safe_load_weights(path, wrappers=WRAPPERS)


def _digest_of(path: Path) -> str:
    status = path.stat()
    return _digest(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: str, _size: int, _changed: int) -> str:
    with Path(path).open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
