"""Every change a safe write makes to the disk, as one small object that tests count and break."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

Buffer = bytes | memoryview

ORDINARY = 0o666
"""Permissions of a new file before the umask takes some away."""
PRIVATE = 0o600
"""Of a file that is nobody else's business: its owner alone may read it."""


@runtime_checkable
class Fs(Protocol):
    """The file system calls of a save, one method each, in the kernel's own words."""

    def mkdir(self, path: Path, /) -> None: ...

    def create(self, path: Path, /) -> int: ...

    def write(self, handle: int, data: Buffer, /) -> None: ...

    def fsync(self, handle: int, /) -> None: ...

    def close(self, handle: int, /) -> None: ...

    def sync_folder(self, path: Path, /) -> None: ...

    def rename(self, source: Path, target: Path, /) -> None: ...

    def unlink(self, path: Path, /) -> None: ...

    def rmdir(self, path: Path, /) -> None: ...


class RealFs:
    """The machine's own file system; new files get the permissions `mode`."""

    def __init__(self, *, mode: int = ORDINARY) -> None:
        self.mode = mode

    def mkdir(self, path: Path) -> None:
        path.mkdir()

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self.mode)

    def write(self, handle: int, data: Buffer) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]

    def fsync(self, handle: int) -> None:
        os.fsync(handle)

    def close(self, handle: int) -> None:
        os.close(handle)

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder durable; Windows has no such call and needs none."""
        if os.name == "nt":
            return
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def rmdir(self, path: Path) -> None:
        path.rmdir()


def remove_tree(fs: Fs, path: Path) -> None:
    """Delete a file, a link or a folder with everything in it; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            remove_tree(fs, child)
        fs.rmdir(path)
    else:
        with suppress(FileNotFoundError):
            fs.unlink(path)
