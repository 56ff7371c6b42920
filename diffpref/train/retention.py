"""Which checkpoints stay: what is sound is counted, what is best is safe, the rest goes last."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import cast

from diffpref.errors import CheckpointError
from diffpref.io.atomic import write_json
from diffpref.io.codes import BadText
from diffpref.io.fs import Fs, remove_tree
from diffpref.io.text import read_json
from diffpref.train.manifest import FOLDER_NAME, open_checkpoint

BEST = "best.json"
_Marks = tuple[tuple[str, int, int, int], ...]


class Retention:
    """The names inside one checkpoint folder, and the only code that removes any of them.

    step-N is a checkpoint; .old-step-N one being replaced; .tmp-* and .dead-* are leftovers.
    """

    def __init__(self, folder: Path, fs: Fs, log: Callable[[str], None]) -> None:
        self.folder, self.fs, self.log = folder, fs, log
        self._sound: dict[str, _Marks] = {}

    def newest_first(self) -> Iterator[Path]:
        """Yield checkpoint folders; a replaced one comes right after its successor."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        steps = [(int(m[1]), not p.name.startswith("."), p) for p in found if (m := _match(p))]
        yield from (path for *_, path in sorted(steps, reverse=True))

    def clean(self) -> None:
        """Remove what a killed save left; a replaced checkpoint returns if nothing took its place.

        Raises:
            OSError: a replaced checkpoint cannot be put back.
        """
        for path in sorted(self.folder.iterdir()):
            if path.name.startswith((".tmp-", ".dead-")):
                self.discard(path)
            elif path.name.startswith(".old-step-"):
                self._settle(path, self.folder / path.name.removeprefix(".old-"))

    def prune(self, keep: int, newest: Path) -> None:
        """Keep `newest`, the keep - 1 soundest before it, and the best; remove what is older.

        A failure is logged: it never undoes the save it follows.
        """
        try:
            self._sound[newest.name] = _marks(newest)
            best = self.best_name()
            self._prune(keep, newest, best)
        except CheckpointError as error:
            self.log(f"nothing was pruned, {BEST} is {error.what}")
        except OSError as error:
            self.log(f"pruning stopped: {error}")

    def discard(self, path: Path) -> None:
        """Take a folder out of sight, then delete it: a half-deleted one is never looked at."""
        dead = self.folder / f".dead-{token_hex(4)}"
        try:
            self.fs.rename(path, dead)
            remove_tree(self.fs, dead)
        except OSError as error:
            self.log(f"{path.name} could not be removed: {error.strerror}")
        self._sound.pop(path.name, None)

    def is_sound(self, path: Path) -> bool:
        """Verify a folder, or trust an earlier verification if no file was touched since."""
        try:
            marks = _marks(path)
            if self._sound.get(path.name) != marks:
                open_checkpoint(path)
                self._sound[path.name] = marks
        except (CheckpointError, OSError):
            return False
        return True

    def mark_best(self, target: Path, step: int) -> None:
        """Point best.json at a finished checkpoint.

        Raises:
            DiskError: the pointer still names the previous best.
        """
        write_json(self.folder / BEST, {"name": target.name, "step": step}, fs=self.fs)

    def best_name(self) -> str | None:
        """Return the folder name best.json holds, or None when there is no best.json.

        Raises:
            CheckpointError: the pointer is damaged.
        """
        file = self.folder / BEST
        if not file.exists():
            return None
        hint = f"delete {BEST}; the next best checkpoint writes it again"
        try:
            value = read_json(file)
        except (BadText, OSError) as error:
            raise CheckpointError(f"damaged: {error}", where=str(file), hint=hint) from error
        name = cast(dict[str, object], value).get("name") if isinstance(value, dict) else None
        if not (isinstance(name, str) and FOLDER_NAME.fullmatch(name)):
            raise CheckpointError("it names no checkpoint", where=str(file), hint=hint)
        return name

    def _prune(self, keep: int, newest: Path, best: str | None) -> None:
        kept = 1
        for path in [path for path in self.newest_first() if path != newest]:
            if kept < keep:
                sound = self.is_sound(path)
                kept += sound
                if not sound:
                    self.log(f"{path.name} is damaged and does not count as a checkpoint")
            elif path.name != best:
                self.discard(path)

    def _settle(self, replaced: Path, target: Path) -> None:
        if self.is_sound(target):
            self.discard(replaced)
        elif self.is_sound(replaced):
            if target.exists():
                self.discard(target)
            self.fs.rename(replaced, target)
            self.fs.sync_folder(self.folder)


def _match(path: Path) -> re.Match[str] | None:
    return FOLDER_NAME.fullmatch(path.name)


def _marks(path: Path) -> _Marks:
    """Return what changes whenever a file of the folder is written to."""
    stats = [(file.name, file.stat()) for file in sorted(path.iterdir())]
    return tuple((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats)
