"""A torch file as data: its pickle as nodes, and where the bytes of each storage lie."""

import mmap
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

from diffpref.errors import UnsafeFileError
from diffpref.io.archive import MAX_MEMBERS, MAX_PICKLE, plan_of, unsafe
from diffpref.io.codes import BadImage
from diffpref.io.image_headers import read_header
from diffpref.io.pickle_data import read_pickle
from diffpref.io.pickle_nodes import Made, Name, Outside, Pickle

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""What the first two pickles of torch's format before 1.6 hold."""

WIDTHS: Mapping[str, int] = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1,
    "Byte": 1, "Bool": 1, "ComplexFloat": 8, "ComplexDouble": 16, "Untyped": 1,
}  # fmt: skip
"""torch's storage types and the bytes of one element."""

_LOCAL_HEADER = 30
_HEAD = 4096
_PICKLE = b"\x80"
"""The first byte of a pickle of protocol 2 or later, which torch always wrote."""


@dataclass(frozen=True, kw_only=True)
class TorchData:
    """The pickle, the mapped file, and (start, bytes) of each storage by its key."""

    pickle: Pickle
    content: mmap.mmap
    places: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Storage:
    """What a persistent id says of a storage: its type, its key and its number of elements."""

    type: str
    key: str
    numel: int


def open_torch(file: Path) -> TorchData:
    """Read what `torch.save` wrote, in the zip format or the older one; nothing is executed.

    Raises:
        UnsafeFileError: another format, TorchScript, or malformed.
    """
    try:
        if zipfile.is_zipfile(file):
            return _open_zip(file)
        return _open_legacy(file)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise unsafe(f"it cannot be read: {error}", file, _OTHER_HINT) from error
    except ValueError as error:
        if (other := _other_kind(file)) is not None:
            raise unsafe(f"it is not a weights file: {other}", file, _FILES_HINT) from error
        raise unsafe(f"it is not what torch.save writes: {error}", file, _OTHER_HINT) from error


_FILES_HINT = "name the .pt, .pth, .bin or .ckpt that holds the weights"
_OTHER_HINT = "check that the download is complete and is a file of torch.save"


def _other_kind(file: Path) -> str | None:
    """Say what a file is whose first bytes no torch file has."""
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    if head.startswith((_PICKLE, b"PK")):
        return None
    if head[8:9] == b"{":  # a safetensors file begins with its header's length
        return "it looks like safetensors, which needs no conversion"
    try:
        return f"it is a {read_header(head).format} picture"
    except BadImage as error:
        return error.reason.partition(";")[0]


def storage_of(node: object) -> Storage:
    """Return what a node says of a storage.

    Raises:
        ValueError: it is no storage.
    """
    told = node.id if isinstance(node, Outside) else None
    if not isinstance(told, tuple):
        raise ValueError("its data are not kept as torch keeps them")
    parts = cast(tuple[object, ...], told)
    if len(parts) == 6 and parts[5] is None:  # the older format; a view of a storage is refused
        parts = parts[:5]
    if len(parts) != 5 or parts[0] != "storage":
        raise ValueError("its data are not kept as torch keeps them")
    kind, key, numel = parts[1], parts[2], parts[4]
    name = kind.name.removesuffix("Storage") if isinstance(kind, Name) else ""
    if name not in WIDTHS or not isinstance(key, str) or type(numel) is not int or numel < 0:
        raise ValueError(f"a storage of kind {kind if isinstance(kind, Name) else 'unknown'}")
    return Storage(name, key, numel)


def _mapped(file: Path) -> mmap.mmap:
    # Private to this process, so that tensors on it may be written to and the file stays.
    with file.open("rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)


def _open_zip(file: Path) -> TorchData:
    content = _mapped(file)
    with zipfile.ZipFile(file) as archive:
        plan = plan_of(archive, file)
        folder = plan.filename[: -len("data.pkl")]
        members = {each.filename: each for each in archive.infolist()}
        order = members.get(f"{folder}byteorder")
        if order is not None and archive.read(order) != b"little":
            raise unsafe("its numbers are big-endian", file, _OTHER_HINT)
        pickle = read_pickle(BytesIO(archive.read(plan)))
    ahead = f"{folder}data/"
    places = {
        name.removeprefix(ahead): _place(each, content)
        for name, each in members.items()
        if name.startswith(ahead)
    }
    return TorchData(pickle=pickle, content=content, places=places)


def _place(member: zipfile.ZipInfo, content: mmap.mmap) -> tuple[int, int]:
    """Return where a member's bytes lie: behind its own header, whose length that header says."""
    start = member.header_offset
    header = content[start : start + _LOCAL_HEADER]
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04" or member.flag_bits & 1:
        raise ValueError(f"the header of {member.filename[:80]} is damaged")
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start += _LOCAL_HEADER + names
    if start + member.file_size > len(content):
        raise ValueError(f"{member.filename[:80]} reaches beyond the file")
    return start, member.file_size


def _open_legacy(file: Path) -> TorchData:
    with file.open("rb") as stream:
        head = BytesIO(stream.read(MAX_PICKLE))
    if read_pickle(head).root != MAGIC or read_pickle(head).root != PROTOCOL:
        raise UnsafeFileError("it is a pickle, but not of torch", where=str(file), hint=_OTHER_HINT)
    system = read_pickle(head).root
    endian = dict(_texts(system)).get("little_endian")
    if endian is not True:
        raise unsafe("its numbers are big-endian", file, _OTHER_HINT)
    pickle, keys = read_pickle(head), read_pickle(head).root
    content = _mapped(file)
    places = _legacy_places(content, head, _widths(pickle), cast(list[object], keys))
    return TorchData(pickle=pickle, content=content, places=places)


def _texts(node: object) -> list[tuple[str, object]]:
    pairs = node.pairs if isinstance(node, Made) else []
    return [(key, value) for key, value in pairs if isinstance(key, str)]


def _widths(pickle: Pickle) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for node in pickle.outside:
        try:
            storage = storage_of(node)
        except ValueError:
            continue  # a class that was kept beside its source
        found[storage.key] = WIDTHS[storage.type]
    return found


def _legacy_places(
    content: mmap.mmap, head: BytesIO, widths: Mapping[str, int], keys: list[object]
) -> Mapping[str, tuple[int, int]]:
    """Return where each storage lies: its number of elements in eight bytes, then its data."""
    if not isinstance(keys, list) or len(keys) > MAX_MEMBERS:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError("it has no list of storages")
    places: dict[str, tuple[int, int]] = {}
    at = head.tell()
    for key in keys:
        if not isinstance(key, str) or key not in widths:
            raise ValueError("a storage that nothing refers to")
        size = int.from_bytes(content[at : at + 8], "little") * widths[key]
        at += 8
        if at + size > len(content):
            raise ValueError("it ends before its data do")
        places[key] = (at, size)
        at += size
    return places
