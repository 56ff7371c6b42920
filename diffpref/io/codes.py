"""Stable names for everything a door refuses; reports and tests rely on them never changing."""

from dataclasses import dataclass
from enum import StrEnum


class ImageCode(StrEnum):
    """Why an image was refused."""

    MISSING = "image-missing"
    NOT_A_FILE = "image-not-a-file"
    UNREADABLE = "image-unreadable"
    EMPTY = "image-empty"
    TOO_MANY_BYTES = "image-too-many-bytes"
    FORMAT = "image-format"
    TOO_MANY_PIXELS = "image-too-many-pixels"
    TOO_LARGE = "image-too-large"
    TOO_SMALL = "image-too-small"
    TRUNCATED = "image-truncated"
    BROKEN = "image-broken"
    ANIMATED = "image-animated"
    RANGE = "image-range"

    @property
    def meaning(self) -> str:
        return _IMAGE[self]


_IMAGE = {
    ImageCode.MISSING: "there is no file at this path",
    ImageCode.NOT_A_FILE: "the path is a folder, device, pipe or socket",
    ImageCode.UNREADABLE: "the operating system refuses to read the file",
    ImageCode.EMPTY: "the file has no bytes",
    ImageCode.TOO_MANY_BYTES: "the file is larger than the byte ceiling",
    ImageCode.FORMAT: "the content is not JPEG, PNG or WEBP, whatever the name says",
    ImageCode.TOO_MANY_PIXELS: "width x height exceeds the pixel ceiling; not decoded",
    ImageCode.TOO_LARGE: "a side exceeds the side ceiling; not decoded",
    ImageCode.TOO_SMALL: "a side is shorter than the smallest allowed side",
    ImageCode.TRUNCATED: "the file ends before the picture does",
    ImageCode.BROKEN: "the content contradicts its own format or checksums",
    ImageCode.ANIMATED: "more than one frame: which one was judged is unknown",
    ImageCode.RANGE: "floating-point or 32-bit values outside their defined range",
}


class TextCode(StrEnum):
    """Why a line or a JSON document was refused."""

    NOT_UTF8 = "text-not-utf8"
    NOT_JSON = "text-not-json"
    NOT_OBJECT = "text-not-object"
    DUPLICATE_KEY = "text-duplicate-key"
    NON_FINITE = "text-non-finite"
    NUMBER = "text-number"
    TOO_DEEP = "text-too-deep"
    TOO_LONG = "text-too-long"
    SURROGATE = "text-surrogate"
    TABLE = "text-table"

    @property
    def meaning(self) -> str:
        return _TEXT[self]


_TEXT = {
    TextCode.NOT_UTF8: "the bytes are not UTF-8",
    TextCode.NOT_JSON: "the text is not one JSON value",
    TextCode.NOT_OBJECT: "the JSON value is not an object",
    TextCode.DUPLICATE_KEY: "an object names the same key twice",
    TextCode.NON_FINITE: "NaN, Infinity, or a number that overflows to infinity",
    TextCode.NUMBER: "an integer has more digits than any real value needs",
    TextCode.TOO_DEEP: "arrays and objects are nested too deeply",
    TextCode.TOO_LONG: "the line or document is longer than the ceiling",
    TextCode.SURROGATE: "a string holds half of a UTF-16 pair, which is no character",
    TextCode.TABLE: "the lines are no comma-separated table under one header",
}


class PathCode(StrEnum):
    """Why a path written in data was refused."""

    EMPTY = "path-empty"
    CHARACTER = "path-character"
    ABSOLUTE = "path-absolute"
    REMOTE = "path-remote"
    PARENT = "path-parent"
    RESERVED = "path-reserved"
    TOO_LONG = "path-too-long"
    MISSING = "path-missing"
    OUTSIDE = "path-outside"
    NOT_A_FILE = "path-not-a-file"

    @property
    def meaning(self) -> str:
        return _PATH[self]


_PATH = {
    PathCode.EMPTY: "the path is empty or names only the folder itself",
    PathCode.CHARACTER: "control characters, NUL, a backslash, or text that is not UTF-8",
    PathCode.ABSOLUTE: "the path starts at the root, at a drive or at a network share",
    PathCode.REMOTE: "the path is a URL; nothing is downloaded",
    PathCode.PARENT: "the path climbs with '..'",
    PathCode.RESERVED: "a part is the name of a Windows device",
    PathCode.TOO_LONG: "a part exceeds 255 bytes or the path 4096",
    PathCode.MISSING: "there is no file at this path",
    PathCode.OUTSIDE: "a symbolic link leads out of the folder",
    PathCode.NOT_A_FILE: "the path is a folder, device, pipe or socket",
}


class BadImage(ValueError):  # noqa: N818 (a verdict on data)
    """An image that is not used: a fact about the data, not a crash."""

    def __init__(self, code: ImageCode, reason: str, where: str = "") -> None:
        self.code, self.reason, self.where = code, reason, where
        super().__init__(_sentence(code, reason, where))

    def __reduce__(self) -> tuple[type["BadImage"], tuple[ImageCode, str, str]]:
        return BadImage, (self.code, self.reason, self.where)


class BadText(ValueError):  # noqa: N818 (a verdict on data)
    """A JSON document that is not used."""

    def __init__(self, code: TextCode, reason: str, where: str = "") -> None:
        self.code, self.reason, self.where = code, reason, where
        super().__init__(_sentence(code, reason, where))


class BadPath(ValueError):  # noqa: N818 (a verdict on data)
    """A path that is not opened."""

    def __init__(self, code: PathCode, reason: str, where: str = "") -> None:
        self.code, self.reason, self.where = code, reason, where
        super().__init__(_sentence(code, reason, where))


@dataclass(frozen=True, kw_only=True)
class BadLine:
    """A line of a jsonl file that is not used; `line` counts from 1."""

    code: TextCode
    reason: str
    where: str
    line: int


def _sentence(code: StrEnum, reason: str, where: str) -> str:
    return f"{where}: {reason} [{code}]" if where else f"{reason} [{code}]"
