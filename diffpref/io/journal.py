"""Append-only jsonl that survives a kill: for facts that cannot be computed again."""

import json
import os
from collections.abc import Iterator, Mapping
from logging import getLogger
from pathlib import Path
from threading import Lock

from diffpref.io.atomic import disk_errors
from diffpref.io.codes import BadLine
from diffpref.io.fs import RealFs
from diffpref.io.text import MAX_LINE, read_jsonl


class Journal:
    """One JSON object per line, on the disk before `append` returns; safe between threads.

    A line torn by a kill stays in the file, is never glued to the next one, and is skipped with a
    warning by `read`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = Lock()

    def append(self, row: Mapping[str, object]) -> None:
        """Write one line and wait for the disk.

        Raises:
            ValueError: the row holds NaN or infinity, or is longer than 1 MiB.
            DiskError: the line is not safely stored.
        """
        line = json.dumps(dict(row), ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
        if len(line) > MAX_LINE:
            raise ValueError(f"a journal line of {len(line)} bytes exceeds {MAX_LINE}")
        with self._lock, disk_errors(self.path.parent, len(line)):
            self._write(line)

    def read(self) -> Iterator[dict[str, object]]:
        """Yield every whole line in order; an absent file has none."""
        if not self.path.exists():
            return
        for _, row in read_jsonl(self.path):
            if isinstance(row, BadLine):
                getLogger(__name__).warning("%s: line skipped: %s", row.where, row.reason)
            else:
                yield row

    def _write(self, line: bytes) -> None:
        new = not self.path.exists()
        # Windows would otherwise write \r\n; elsewhere there is no such flag.
        binary = getattr(os, "O_BINARY", 0)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | binary, 0o666)
        try:
            end = os.fstat(handle).st_size
            torn = end > 0 and _last(handle) != b"\n"
            RealFs().write(handle, b"\n" + line if torn else line)
            os.fsync(handle)
        finally:
            os.close(handle)
        if new:
            RealFs().sync_folder(self.path.parent)


def _last(handle: int) -> bytes:
    """Return the last byte of a file; what is appended next still goes to its end."""
    os.lseek(handle, -1, os.SEEK_END)
    return os.read(handle, 1)
