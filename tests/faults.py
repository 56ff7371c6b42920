"""File systems that die, fill up or forget, for every test of something that must survive."""

import errno
from collections.abc import Callable
from pathlib import Path

from diffpref.io.fs import Buffer, RealFs


class Died(BaseException):
    """The process is gone: no cleanup of it may have any effect either."""


class CountingFs:
    """Calls through to the real file system and lets `before` act on each call.

    `before(number, name, write)` sees calls counted from 0; `write` stores half of a buffer when
    the call is a write and does nothing otherwise. Flushes are counted, not done: a process may
    die without them, and what a power cut needs is tested on a model of the disk.
    """

    def __init__(self, before: Callable[[int, str, Callable[[], None]], None]) -> None:
        self.real, self.before, self.calls = RealFs(), before, 0
        self.names: list[str] = []

    def _step(self, name: str, half: Callable[[], None] = lambda: None) -> None:
        number, self.calls = self.calls, self.calls + 1
        self.names.append(name)
        self.before(number, name, half)

    def mkdir(self, path: Path) -> None:
        self._step("mkdir")
        self.real.mkdir(path)

    def create(self, path: Path) -> int:
        self._step("create")
        return self.real.create(path)

    def write(self, handle: int, data: Buffer) -> None:
        self._step("write", lambda: self.real.write(handle, data[: len(data) // 2]))
        self.real.write(handle, data)

    def fsync(self, handle: int) -> None:  # noqa: ARG002
        self._step("fsync")

    def close(self, handle: int) -> None:
        self.real.close(handle)  # the kernel closes the handles of a dead process as well
        self._step("close")

    def sync_folder(self, path: Path) -> None:  # noqa: ARG002
        self._step("sync_folder")

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename")
        self.real.rename(source, target)

    def unlink(self, path: Path) -> None:
        self._step("unlink")
        self.real.unlink(path)

    def rmdir(self, path: Path) -> None:
        self._step("rmdir")
        self.real.rmdir(path)


def counting() -> CountingFs:
    return CountingFs(lambda *_: None)


def dying_at(last: int, *, half: bool) -> CountingFs:
    """Die at call `last` and stay dead; with `half`, a write first stores half of its buffer."""

    def before(number: int, name: str, write_half: Callable[[], None]) -> None:
        if number == last and half and name == "write":
            write_half()
        if number >= last:
            raise Died

    return CountingFs(before)


def full_disk_at(first: int, *, for_ever: bool) -> CountingFs:
    """Refuse call `first` (and, if asked, everything after it that needs space) with ENOSPC."""
    needs_space = {"mkdir", "create", "write", "fsync"}

    def before(number: int, name: str, write_half: Callable[[], None]) -> None:
        if number == first or (for_ever and number > first and name in needs_space):
            if name == "write":
                write_half()
            raise OSError(errno.ENOSPC, "No space left on device")

    return CountingFs(before)


def quiet(text: str) -> None:
    """Take a log line and do nothing with it."""
    del text
