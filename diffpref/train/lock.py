"""One writer per run folder; a lock left by a dead process is recognised and taken over."""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import cast

from diffpref.errors import UsageError
from diffpref.io.atomic import write_json
from diffpref.io.codes import BadText
from diffpref.io.text import read_json

NAME = "run.lock"
_TEXTS = ("started", "boot", "space", "host")


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process, told apart from any later one that is given the same pid."""

    pid: int
    started: str
    boot: str
    space: str
    host: str

    @classmethod
    def me(cls) -> "Holder":
        """Describe this process."""
        return cls(
            pid=os.getpid(),
            started=_started(os.getpid()),
            boot=_boot(),
            space=_pid_space(),
            host=socket.gethostname(),
        )

    def gone(self) -> bool:
        """Say whether the process has certainly ended, seen from this machine."""
        if self.host != socket.gethostname():
            return False
        if self.boot != _boot():
            return True
        if self.space != _pid_space():  # another container: its pids mean nothing here
            return False
        return not _alive(self.pid) or _started(self.pid) != self.started


class RunLock:
    """Context manager that holds `folder`/run.lock.

    A lock written on another host is never taken over, since its process cannot be seen.
    """

    def __init__(self, folder: Path | str) -> None:
        self.path = Path(folder) / NAME
        self._mine: Holder | None = None

    def __enter__(self) -> "RunLock":
        """Take the lock.

        Raises:
            UsageError: another process holds it; nothing was changed.
            DiskError: the folder cannot be written.
        """
        me = Holder.me()
        with _one_at_a_time(self.path.parent):
            if self.path.exists():
                self._require_stale()
            write_json(self.path, asdict(me))
        self._mine = me
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock; a forked child, or a process that lost it, leaves it alone."""
        if self._mine is not None and self._mine.pid == os.getpid():
            with _one_at_a_time(self.path.parent), suppress(OSError):
                if _read(self.path) == self._mine:
                    self.path.unlink()
        self._mine = None

    def _require_stale(self) -> None:
        holder = _read(self.path)
        if holder is not None and holder.gone():
            return
        who = "a process that cannot be identified"
        if holder is not None:
            who = f"process {holder.pid} on {holder.host}"
        raise UsageError(
            f"{who} is already using this run folder",
            where=str(self.path.parent),
            hint=f"wait for it, choose another --out, or delete {NAME} if it is not running",
        )


@contextmanager
def _one_at_a_time(folder: Path) -> Generator[None]:
    """Serialise reading and replacing the lock between processes, where the system can."""
    if os.name == "nt":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no such lock
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(path: Path) -> Holder | None:
    try:
        value = read_json(path, max_bytes=4096)
    except (BadText, OSError):
        return None
    if not isinstance(value, dict):
        return None
    entries = cast(dict[str, object], value)
    pid, texts = entries.get("pid"), {name: entries.get(name) for name in _TEXTS}
    if not (isinstance(pid, int) and all(isinstance(text, str) for text in texts.values())):
        return None
    return Holder(pid=pid, **cast(dict[str, str], texts))


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # signal 0 would end it there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _boot() -> str:
    return _first_line(Path("/proc/sys/kernel/random/boot_id"))


def _pid_space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return the process's start in clock ticks since boot: field 22 of its stat line."""
    fields = _first_line(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError):
        return ""
