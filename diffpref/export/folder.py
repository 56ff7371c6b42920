"""The folder of an export: whole or not at all, with a list of what it holds."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from diffpref.errors import UsageError
from diffpref.io import BadText, read_json, replace_folder, write_json

MANIFEST = "diffpref_export.json"
FORMAT = "diffpref-export/1"
_BLOCK = 4 * 2**20


def require_free(out: Path, force: bool) -> None:
    """Refuse a place that holds something; with `force` an earlier export may be replaced.

    Raises:
        UsageError: it does.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if out.is_file():
        if not force:
            hint = "add --force, or name another file"
            raise UsageError("exists already", where=str(out), hint=hint)
        return
    if _is_export(out):
        if not force:
            hint = "add --force to replace it, or name another folder"
            raise UsageError("holds an earlier export", where=str(out), hint=hint)
        return
    hint = "choose a new folder, or an empty one"
    raise UsageError("holds something else", where=str(out), hint=hint)


@contextmanager
def beside(out: Path) -> Generator[Path]:
    """Give an empty folder on the same disk as the place wanted, gone when the block ends.

    Yields:
        The folder to write into.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_manifest(folder: Path, form: str) -> dict[str, int]:
    """Write the list of a folder's files with sizes and hashes; return their sizes by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    told = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": _hash(path)}
        for path in files
    }
    write_json(folder / MANIFEST, {"format": FORMAT, "form": form, "files": told})
    return sizes(folder)


def sizes(folder: Path) -> dict[str, int]:
    """Return the size in bytes of every file of a folder, by its name inside it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _is_export(folder: Path) -> bool:
    try:
        found = read_json(folder / MANIFEST)
    except (BadText, OSError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT


def _hash(path: Path) -> str:
    total = sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            total.update(block)
    return total.hexdigest()


def put(partial: Path, out: Path) -> None:
    """Let a finished folder, or a file of one, take its place; the older one goes last."""
    if partial.is_file():
        os.replace(partial, out)
    else:
        replace_folder(partial, out)
