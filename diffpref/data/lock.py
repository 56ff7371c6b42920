"""Advisory locks: any number of users of a cache, or one process that changes it."""

import os
from contextlib import suppress
from logging import getLogger
from pathlib import Path

from diffpref.errors import DataError


class Held:
    """A lock that lasts until it is closed, forgotten, or the process ends in any way."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle

    def close(self) -> None:
        """Give the lock back; a second time does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def __del__(self) -> None:
        with suppress(OSError):
            self.close()


def hold(path: Path, *, exclusive: bool = False, wait: bool = True) -> Held | None:
    """Lock a file.

    Returns None where locks are impossible: on Windows, on network file systems without them, and
    in a folder that cannot be written, whose cache nobody changes.

    Raises:
        DataError: another process holds it and `wait` is false.
    """
    try:
        import fcntl

        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except (ImportError, OSError):
        return None
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    held = Held(handle)
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise DataError(
                "another run is using this cache",
                where=str(path.parent),
                hint="wait until it has finished, then run this again",
            ) from None
        getLogger(__name__).warning("%s: waiting for another run to finish", path)
        fcntl.flock(handle, kind)
    except OSError:
        return None
    return held
