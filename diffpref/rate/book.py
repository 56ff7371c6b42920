"""The folder a rating session writes: a journal, the pairs it amounts to, and their pictures."""

import json
from collections.abc import Callable, Mapping
from logging import getLogger
from pathlib import Path

from diffpref.data.lock import Held, hold
from diffpref.data.writers import image_name
from diffpref.errors import DataError, DiskError, UsageError
from diffpref.io import Journal, write_atomic
from diffpref.rate.entries import Entry, Folded, apply, fold
from diffpref.rate.pair import Pair, Picture
from diffpref.users.profile import now

JOURNAL = "journal.jsonl"
"""Append-only and flushed to the disk line by line: what was answered, in order, undo included."""

VIEW = "pairs.jsonl"
"""The votes that stand, made from the journal: a data set of the one schema."""

LOCK = ".rate.lock"
OTHERS = "metadata.jsonl"


class Book:
    """The answers of one folder. Every change is on the disk before the call returns."""

    def __init__(self, folder: Path, *, user: str | None = None) -> None:
        """Open a folder or make it, fold its journal, and bring its pairs up to date.

        Raises:
            UsageError: it holds a data set of another origin.
            DataError: another rating page is writing it.
            DiskError: it cannot be written.
        """
        if (folder / OTHERS).exists():
            hint = "name another folder with --out"
            raise UsageError(f"holds another data set ({OTHERS})", where=str(folder), hint=hint)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # a taste is its owner's
        except OSError as error:
            what, hint = f"cannot be made: {error.strerror}", "name another folder with --out"
            raise DiskError(what, where=str(folder), hint=hint) from error
        self.folder, self.user = folder, user
        self._lock: Held | None = _only_here(folder)
        self._journal = Journal(folder / JOURNAL)
        self._folded: Folded = fold(self._journal.read())
        if self._folded.alive or (folder / VIEW).exists():
            self._write_view()

    @property
    def revealed(self) -> bool:
        """Whether the labels of a study in this folder were shown."""
        return self._folded.revealed

    def mine(self) -> list[Entry]:
        """Return the answers of this user that stand, oldest first."""
        return [each for each in self._folded.alive.values() if each.user == self.user]

    def vote(self, pair: Pair, shares: tuple[float, float], *, nonce: str, left: int) -> Entry:
        """Write a vote: the shares of the pair's first and second picture; their sum is 1.

        Raises:
            DiskError: it is not safely stored.
        """
        return self._append(
            {
                "prompt": pair.prompt,
                "images": [self._keep(each) for each in pair.pictures],
                "scores": list(shares),
                **self._who(),
                "id": pair.id,
                **({} if pair.source is None else {"source": pair.source}),
                "nonce": nonce,
                "left": left,
                "time": now(),
            }
        )

    def skip(self, pair: Pair, *, nonce: str) -> Entry:
        """Write that a pair was left undecided.

        Raises:
            DiskError: it is not safely stored.
        """
        row = {"id": pair.id, "skip": True, **self._who(), "nonce": nonce, "time": now()}
        return self._append(row)

    def undo(self, nonce: str) -> Entry:
        """Take an answer back, by one more line.

        Raises:
            KeyError: no such answer stands.
            DiskError: the line is not safely stored.
        """
        entry = self._folded.alive[nonce]
        row = {"undo": nonce, **self._who(), "time": now()}
        self._journal.append(row)
        apply(self._folded, row)
        self._write_view()
        return entry

    def reveal(self) -> None:
        """Write that a study's labels were shown, after which no vote is blind."""
        row = {"revealed": True, "time": now()}
        self._journal.append(row)
        apply(self._folded, row)

    def close(self) -> None:
        """Let another page write the folder."""
        if self._lock is not None:
            self._lock.close()

    def _who(self) -> dict[str, object]:
        return {} if self.user is None else {"user": self.user}

    def _append(self, row: Mapping[str, object]) -> Entry:
        self._journal.append(row)
        apply(self._folded, row)
        if "scores" in row:
            self._quietly(lambda: Journal(self.folder / VIEW).append(row))
        return self._folded.alive[str(row["nonce"])]

    def _write_view(self) -> None:
        votes = [each.row for each in self._folded.alive.values() if not each.skipped]
        lines = [json.dumps(dict(row), ensure_ascii=False) + "\n" for row in votes]
        self._quietly(lambda: write_atomic(self.folder / VIEW, "".join(lines)))

    def _quietly(self, write: Callable[[], None]) -> None:
        try:
            write()
        except DiskError as error:
            # The answer itself is in the journal, from which this file is made at the next start.
            getLogger(__name__).warning("%s is behind its journal: %s", VIEW, error.what)

    def _keep(self, picture: Picture) -> str:
        """Return a picture's path in the folder; one from elsewhere is copied, once."""
        content = picture.content
        root = self.folder.resolve()
        if isinstance(content, Path) and content.resolve().is_relative_to(root):
            return content.resolve().relative_to(root).as_posix()
        data = picture.data
        name = image_name(data)
        if not (self.folder / name).exists():
            (self.folder / name).parent.mkdir(exist_ok=True)
            write_atomic(self.folder / name, data)
        return name


def _only_here(folder: Path) -> Held | None:
    try:
        return hold(folder / LOCK, exclusive=True, wait=False)
    except DataError as error:
        what, hint = "another rating page is writing this folder", "close it, or use another --out"
        raise DataError(what, where=str(folder), hint=hint) from error
