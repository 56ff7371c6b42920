"""Files that are either the old one or the whole new one, whatever happens in between."""

import json
import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from shutil import disk_usage, rmtree
from typing import TYPE_CHECKING, NamedTuple

from diffpref.errors import DiskError
from diffpref.io.fs import Buffer, Fs, RealFs

if TYPE_CHECKING:
    import torch


class Written(NamedTuple):
    """What a finished file holds."""

    size: int
    sha256: str


def write_atomic(path: Path | str, data: bytes | str, *, fs: Fs | None = None) -> None:
    """Replace a file as a whole, durably; str is written as UTF-8.

    Raises:
        DiskError: the disk is full or the folder refuses the file; the old file is intact.
    """
    payload = data.encode("utf-8") if isinstance(data, str) else data
    _replace(Path(path), lambda: [payload], len(payload), fs or RealFs())


def replace_folder(partial: Path, folder: Path) -> None:
    """Let a finished folder beside it take a folder's place; the older one goes last."""
    old = folder.with_name(f".{folder.name}.old")
    rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    rmtree(old, ignore_errors=True)


def write_json(path: Path | str, value: object, *, fs: Fs | None = None) -> None:
    """Replace a JSON file as a whole, indented, durably.

    Raises:
        ValueError: the value holds NaN or infinity, which JSON has no word for.
        DiskError: as `write_atomic`.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text + "\n", fs=fs)


def save_tensors(
    path: Path | str,
    tensors: "Mapping[str, torch.Tensor]",
    metadata: Mapping[str, str] | None = None,
    *,
    fs: Fs | None = None,
) -> None:
    """Replace a safetensors file as a whole, durably, one tensor in memory at a time.

    Raises:
        ValueError: a tensor's kind cannot be stored.
        DiskError: as `write_atomic`.
    """
    from diffpref.io.tensors import stored_bytes, tensor_chunks

    target, total = Path(path), stored_bytes(tensors)
    _replace(target, lambda: tensor_chunks(tensors, metadata), total, fs or RealFs())


def write_file(fs: Fs, path: Path, chunks: Iterable[Buffer]) -> Written:
    """Write a new file to its end and flush it to the disk, hashing on the way.

    Raises:
        OSError: what the system says; the file is then incomplete.
    """
    digest, size = sha256(), 0
    handle = fs.create(path)
    try:
        for chunk in chunks:
            fs.write(handle, chunk)
            digest.update(chunk)
            size += len(chunk)
        fs.fsync(handle)
    finally:
        fs.close(handle)
    return Written(size, digest.hexdigest())


@contextmanager
def disk_errors(folder: Path, needed: int) -> Generator[None]:
    """Turn the system's refusals into a DiskError that says how much space there is.

    Raises:
        DiskError: instead of any OSError of the block.
    """
    try:
        yield
    except OSError as error:
        try:
            free = f"{disk_usage(folder).free / 2**20:,.1f} MiB free"
        except OSError:
            free = "free space unknown"
        what = f"{error.strerror or error}: {needed / 2**20:,.1f} MiB needed, {free}"
        hint = "free some space or choose another folder with --out; nothing older was damaged"
        raise DiskError(what, where=str(folder), hint=hint) from error


def _replace(path: Path, chunks: Callable[[], Iterable[Buffer]], needed: int, fs: Fs) -> None:
    stage = path.with_name(f".tmp-{os.getpid()}-{token_hex(4)}")
    with disk_errors(path.parent, needed):
        try:
            write_file(fs, stage, chunks())
            fs.rename(stage, path)
        except BaseException:
            with suppress(OSError):
                fs.unlink(stage)
            raise
        fs.sync_folder(path.parent)
