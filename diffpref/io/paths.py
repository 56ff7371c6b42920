"""The doors for paths written in data: relative, inside one folder, regular files only."""

import re
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from diffpref.io.codes import BadPath, PathCode

_MAX_PART = 255
_MAX_PATH = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_DRIVE = re.compile(r"[A-Za-z]:")
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])( *[.:].*)?"
)


def safe_path(root: Path | str, relative: str) -> Path:
    """Return the resolved path of a regular file that lies under `root`.

    Symbolic links are followed as long as they stay inside.

    Args:
        root: folder that must contain the file.
        relative: path as written in the data, with forward slashes.

    Raises:
        BadPath: `code` says why.
    """
    _check_text(relative)
    folder = Path(root).resolve()
    try:
        target = (folder / PurePosixPath(relative)).resolve(strict=True)
        if not target.is_relative_to(folder):
            raise BadPath(PathCode.OUTSIDE, f"a link leads out of {folder.name}", relative)
        if not S_ISREG(target.stat().st_mode):
            raise BadPath(PathCode.NOT_A_FILE, "not a regular file", relative)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise BadPath(PathCode.MISSING, f"no such file in {folder.name}", relative) from error
    return target


def new_path(root: Path | str, relative: str) -> Path:
    """Return where a file named in data may be written: under `root`, on any system.

    Args:
        root: folder that must contain the file; it need not exist.
        relative: path as made from the data, with forward slashes.

    Raises:
        BadPath: `code` says why.
    """
    _check_text(relative)
    folder = Path(root).resolve()
    try:
        inside = (folder / PurePosixPath(relative)).resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # a loop of links
        inside = False
    if not inside:
        raise BadPath(PathCode.OUTSIDE, f"a link leads out of {folder.name}", relative)
    return Path(root) / PurePosixPath(relative)


def _check_text(relative: str) -> None:
    shown = ascii(relative[:80])
    for code, wrong, reason in (
        (PathCode.CHARACTER, _CONTROL.search(relative), "control characters in a path"),
        (PathCode.CHARACTER, not _encodable(relative), "the path is not UTF-8"),
        (PathCode.ABSOLUTE, relative.startswith(("/", "\\")), "write it relative to the folder"),
        (PathCode.ABSOLUTE, _DRIVE.match(relative), "write it relative to the folder"),
        (PathCode.REMOTE, _SCHEME.match(relative), "download the file first; URLs are not opened"),
        (PathCode.CHARACTER, "\\" in relative, "use forward slashes"),
    ):
        if wrong:
            raise BadPath(code, reason, shown)
    _check_parts(relative, shown)


def _check_parts(relative: str, shown: str) -> None:
    parts = PurePosixPath(relative).parts
    if not parts:
        raise BadPath(PathCode.EMPTY, "the path is empty", shown)
    if ".." in parts:
        raise BadPath(PathCode.PARENT, "'..' is not allowed", shown)
    if any(len(part.encode()) > _MAX_PART for part in parts) or len(relative) > _MAX_PATH:
        raise BadPath(PathCode.TOO_LONG, "longer than file systems allow", shown)
    if any(_DEVICE.fullmatch(part.rstrip(". ").lower()) for part in parts):
        raise BadPath(PathCode.RESERVED, "the name of a Windows device", shown)


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
