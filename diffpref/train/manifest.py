"""What makes a folder a checkpoint: a manifest, written last, that vouches for every file."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NoReturn, cast

from torch import Tensor

from diffpref.errors import CheckpointError, DataError, nearest
from diffpref.io.atomic import Written
from diffpref.io.codes import BadText
from diffpref.io.text import parse_json
from diffpref.io.weights import load_weights

FORMAT = 1
"""Version of the folder layout; a reader refuses what it does not know."""

MANIFEST, STATE = "manifest.json", "state.json"
MAX_JSON = 64 * 2**20
FOLDER_NAME = re.compile(r"(?:\.old-)?step-(\d{8,})")
TENSOR_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FILE_NAME = re.compile(r"state\.json|[a-z][a-z0-9_]*\.safetensors")
_BLOCK = 4 * 2**20
_HINT = "`--resume auto` takes the newest sound checkpoint"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A folder whose every byte agreed with its manifest when it was opened."""

    path: Path
    step: int
    names: tuple[str, ...]
    state: dict[str, object]
    identity: dict[str, object]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Load one group of tensors onto the CPU.

        Raises:
            CheckpointError: there is no such group, or its file has changed since.
        """
        if name not in self.names:
            hint = nearest(name, self.names)
            raise CheckpointError(f"it holds no '{name}'", where=str(self.path), hint=hint)
        try:
            return load_weights(self.path / f"{name}.safetensors")
        except DataError as error:
            raise CheckpointError(error.what, where=error.where, hint=_HINT) from error


def canonical(value: Mapping[str, object]) -> bytes:
    """Encode JSON in the only form a manifest may have, so that no byte is free to change.

    Raises:
        ValueError: NaN or infinity.
    """
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def manifest_bytes(
    step: int, files: Mapping[str, Written], identity: Mapping[str, object]
) -> bytes:
    """Encode the manifest of a folder: sizes and hashes of its files, and a hash of itself."""
    body: dict[str, object] = {
        "format": FORMAT,
        "step": step,
        "identity": identity,
        "files": {name: {"size": w.size, "sha256": w.sha256} for name, w in files.items()},
    }
    return canonical({**body, "digest": sha256(canonical(body)).hexdigest()})


def open_checkpoint(path: Path) -> Checkpoint:
    """Verify every byte of a folder and return what it holds.

    Raises:
        CheckpointError: the message names the file and what is wrong with it.
    """
    manifest = _read_manifest(path)
    match = FOLDER_NAME.fullmatch(path.name)
    if match and int(match[1]) != manifest["step"]:
        _damaged(path, f"{MANIFEST} belongs to step {manifest['step']}")
    files = cast(dict[str, dict[str, object]], manifest["files"])
    for name, expected in files.items():
        _check_file(path, name, expected)
    return Checkpoint(
        path=path,
        step=cast(int, manifest["step"]),
        names=tuple(name.split(".")[0] for name in sorted(files) if name != STATE),
        state=_parse(path, STATE, _read(path, STATE)),
        identity=cast(dict[str, object], manifest["identity"]),
    )


def _read_manifest(path: Path) -> dict[str, object]:
    """Return a manifest whose digest and shape are right."""
    if not path.is_dir():
        _damaged(path, "there is no such folder")
    data = _read(path, MANIFEST)
    manifest = _parse(path, MANIFEST, data)
    if manifest.get("format") != FORMAT:
        hint = "upgrade diffpref, or open it with the release that wrote it"
        what = f"format {manifest.get('format')!r} is unknown; this release reads {FORMAT}"
        raise CheckpointError(what, where=str(path), hint=hint)
    body = {key: value for key, value in manifest.items() if key != "digest"}
    digest = sha256(canonical(body)).hexdigest()
    if manifest.get("digest") != digest or canonical(manifest) != data:
        _damaged(path, f"{MANIFEST} does not match its own digest")
    if not _shaped(manifest):
        _damaged(path, f"{MANIFEST} lacks a part")
    return manifest


def _shaped(manifest: dict[str, object]) -> bool:
    files, step = manifest.get("files"), manifest.get("step")
    if not (isinstance(files, dict) and isinstance(step, int)):
        return False
    entries = cast(dict[str, object], files)
    return (
        STATE in entries
        and all(isinstance(entry, dict) for entry in entries.values())
        and isinstance(manifest.get("identity"), dict)
    )


def _check_file(path: Path, name: str, expected: dict[str, object]) -> None:
    file = path / name
    if not _FILE_NAME.fullmatch(name):
        _damaged(path, f"{MANIFEST} names {name!r}, which no checkpoint holds")
    if file.is_symlink() or not file.is_file():
        _damaged(path, f"{name} is missing")
    size, digest = file.stat().st_size, sha256()
    if size != expected.get("size"):
        _damaged(path, f"{name} has {size} bytes instead of {expected.get('size')}")
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != expected.get("sha256"):
        _damaged(path, f"{name} does not match its sha256")


def _read(path: Path, name: str) -> bytes:
    try:
        with (path / name).open("rb") as file:
            return file.read(MAX_JSON + 1)
    except FileNotFoundError:
        _damaged(path, f"{name} is missing")
    except OSError as error:
        _damaged(path, f"{name} cannot be read: {error.strerror}")


def _parse(path: Path, name: str, data: bytes) -> dict[str, object]:
    try:
        value = parse_json(data, name, max_bytes=MAX_JSON)
    except BadText as error:
        _damaged(path, f"{name}: {error.reason}")
    if not isinstance(value, dict):
        _damaged(path, f"{name} is not an object")
    return cast(dict[str, object], value)


def _damaged(path: Path, what: str) -> NoReturn:
    raise CheckpointError(what, where=str(path), hint=_HINT)
