"""What a JPEG, PNG or WEBP file says about itself, read before any decoder sees it."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from diffpref.io.codes import BadImage, ImageCode


class Header(NamedTuple):
    """Format name as Pillow spells it, stored size in pixels, and whether it is an animation."""

    format: str
    width: int
    height: int
    animated: bool


# first bytes of what people feed a data set by mistake, named so that the message helps
_OTHERS = {
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"BM": "BMP",
    b"8BPS": "PSD",
    b"%PDF": "PDF",
    b"%!PS": "EPS",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"SIMPLE": "FITS",
    b"PK\x03\x04": "zip archive",
    b"\x80": "pickle",
    b"<": "HTML or SVG",
    b"version https://git-lfs": "Git LFS pointer (run git lfs pull)",
}
_IHDR_BYTES = 13
_CRC_BYTES = 4
_WEBP_BYTES = 30  # up to the size fields of every variant
_MARKER = 0xFF
_PNG = b"\x89PNG\r\n\x1a\n"
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset(range(0xD0, 0xD9)) | {0x01}


def read_header(data: bytes) -> Header:
    """Identify the content and read its size; the file name plays no part.

    Raises:
        BadImage: EMPTY, FORMAT, TRUNCATED or BROKEN.
    """
    if not data:
        raise BadImage(ImageCode.EMPTY, "the file is empty")
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    found = next((name for head, name in _OTHERS.items() if data.startswith(head)), "unknown")
    if data[4:12] in (b"ftypheic", b"ftypavif", b"ftypmif1"):
        found = "HEIC or AVIF"
    raise BadImage(ImageCode.FORMAT, f"the content is {found}; convert it to PNG, JPEG or WEBP")


def _png(data: bytes) -> Header:
    """Walk every chunk: decoders skip the checksum of the pixels themselves."""
    size, animated, ended = None, False, False
    for kind, body in _png_chunks(data):
        if size is None and (kind != b"IHDR" or len(body) != _IHDR_BYTES):
            raise BadImage(ImageCode.BROKEN, "the PNG does not begin with its header")
        if kind == b"IHDR":
            size = int.from_bytes(body[:4]), int.from_bytes(body[4:8])
        animated |= kind == b"acTL" and int.from_bytes(body[:4]) != 1
        ended |= kind == b"IEND"
    if size is None or not ended:
        raise BadImage(ImageCode.TRUNCATED, "the PNG ends before its last chunk")
    return Header("PNG", *size, animated)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, kind = len(_PNG), b""
    while at < len(data) and kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        body, check = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if len(check) < _CRC_BYTES:
            raise BadImage(ImageCode.TRUNCATED, "the PNG ends inside a chunk")
        if zlib.crc32(kind + body) != int.from_bytes(check):
            raise BadImage(ImageCode.BROKEN, f"checksum of PNG chunk {kind!r} is wrong")
        yield kind, body
        at += 12 + length


def _jpeg(data: bytes) -> Header:
    at = 2
    while at + 9 <= len(data):
        if data[at] != _MARKER:
            raise BadImage(ImageCode.BROKEN, "the JPEG has no marker where one belongs")
        marker = data[at + 1]
        if marker == _MARKER or marker in _BARE_MARKERS:  # fill byte, or a marker without a body
            at += 1 if marker == _MARKER else 2
            continue
        if marker in _FRAME_MARKERS:
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return Header("JPEG", int.from_bytes(width), int.from_bytes(height), False)
        if marker in (0xDA, 0xD9):
            raise BadImage(ImageCode.BROKEN, "the JPEG has no frame header")
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
    raise BadImage(ImageCode.TRUNCATED, "the JPEG ends before its picture starts")


def _webp(data: bytes) -> Header:
    if len(data) < _WEBP_BYTES or int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise BadImage(ImageCode.TRUNCATED, "the WEBP is shorter than it declares")
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        return Header("WEBP", width, height, bool(data[20] & 0x02))
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return Header("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, False)
    if kind == b"VP8 ":
        width = int.from_bytes(data[26:28], "little") & 0x3FFF
        height = int.from_bytes(data[28:30], "little") & 0x3FFF
        return Header("WEBP", width, height, False)
    raise BadImage(ImageCode.BROKEN, f"the WEBP begins with an unknown chunk {kind!r}")
