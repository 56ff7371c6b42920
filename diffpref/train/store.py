"""Checkpoints that a kill, a full disk or a power cut cannot take away."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path
from secrets import token_hex

from torch import Tensor

from diffpref.errors import CheckpointError
from diffpref.io.atomic import Written, disk_errors, write_file
from diffpref.io.fs import Fs, RealFs, remove_tree
from diffpref.io.tensors import stored_bytes, tensor_chunks
from diffpref.train.manifest import (
    MANIFEST,
    STATE,
    TENSOR_NAME,
    Checkpoint,
    canonical,
    manifest_bytes,
    open_checkpoint,
)
from diffpref.train.retention import Retention


class Store:
    """The checkpoints of one run: `folder` holds step-00001234/ and the pointer best.json.

    A save stages under another name, flushes every file, writes the manifest last, renames,
    flushes the folder, and only then prunes. One process writes (see `RunLock`); any may read.
    """

    def __init__(
        self, folder: Path | str, *, fs: Fs | None = None, log: Callable[[str], None] | None = None
    ) -> None:
        """Name the folder; nothing is touched.

        Args:
            folder: made when missing.
            fs: the file system calls of a save.
            log: receives a sentence for everything skipped, kept or not removable.
        """
        self.folder = Path(folder)
        self.fs: Fs = fs or RealFs()
        self.log = log or getLogger(__name__).warning
        self._retention = Retention(self.folder, self.fs, self.log)

    def prepare(self) -> None:
        """Make the folder, prove that it can be written, and remove what a killed save left.

        Raises:
            DiskError: the folder cannot be written; found now rather than after an hour.
        """
        probe = self.folder / f".tmp-probe-{token_hex(4)}"
        with disk_errors(self.folder, 0):
            self._make(self.folder)
            write_file(self.fs, probe, [b"probe"])
            self.fs.unlink(probe)
            self._retention.clean()

    def save(
        self,
        step: int,
        *,
        files: Mapping[str, Mapping[str, Tensor]],
        state: Mapping[str, object],
        identity: Mapping[str, object],
        keep: int,
        best: bool = False,
    ) -> Path:
        """Write a checkpoint, or replace the one of this step; on return it is durable.

        Args:
            step: optimizer steps done.
            files: named groups of tensors, one safetensors file each, on any device.
            state: JSON values the loop needs to go on.
            identity: JSON values that say which run this is (see `check_identity`).
            keep: sound checkpoints to keep, counting this one and not the best.
            best: also point best.json here; its target is never pruned.

        Raises:
            ValueError: keep below 1, a group name that is no file name, NaN in state or identity.
            DiskError: full or refusing disk; earlier checkpoints are intact.
        """
        _check_names(step, keep, files)
        text, _ = canonical(state), canonical(identity)  # refuse NaN before touching the disk
        needed = sum(stored_bytes(group) for group in files.values()) + len(text)
        stage = self.folder / f".tmp-step-{step:08d}-{token_hex(4)}"
        target = self.folder / f"step-{step:08d}"
        with disk_errors(self.folder, needed), self._dropped_on_error(stage):
            self._make(self.folder)
            self._retention.clean()
            self._stage(stage, step, files, text, identity)
            self._commit(stage, target)
            if best:
                self._retention.mark_best(target, step)
        self._retention.prune(keep, newest=target)
        return target

    def latest(self) -> Checkpoint | None:
        """Return the newest sound checkpoint; None only if there has never been one.

        Raises:
            CheckpointError: there are checkpoints and all are damaged; never start over silently.
        """
        reasons: list[str] = []
        for path in self._retention.newest_first():
            try:
                return open_checkpoint(path)
            except CheckpointError as error:
                reasons.append(f"{path.name}: {error.what}")
                self.log(f"checkpoint skipped: {reasons[-1]}")
        if reasons:
            what = "no checkpoint can be used: " + "; ".join(reasons)
            hint = "move the folder aside to start from the beginning"
            raise CheckpointError(what, where=str(self.folder), hint=hint)
        return None

    def best(self) -> Checkpoint | None:
        """Return the checkpoint best.json points at, or None when nothing was marked best.

        Raises:
            CheckpointError: the pointer or its target is damaged.
        """
        name = self._retention.best_name()
        if name is None:
            return None
        replaced = self.folder / f".old-{name}"  # a kill in mid-replacement leaves only this one
        return open_checkpoint(
            replaced if self._retention.is_sound(replaced) else self.folder / name
        )

    def open(self, path: Path | str) -> Checkpoint:
        """Open exactly this checkpoint.

        Raises:
            CheckpointError: it is damaged; nothing else is tried.
        """
        return open_checkpoint(Path(path))

    @contextmanager
    def _dropped_on_error(self, stage: Path) -> Generator[None]:
        try:
            yield
        except OSError:
            with suppress(OSError):
                remove_tree(self.fs, stage)
            raise

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make(folder.parent)
            self.fs.mkdir(folder)
            self.fs.sync_folder(folder.parent)

    def _stage(
        self,
        stage: Path,
        step: int,
        files: Mapping[str, Mapping[str, Tensor]],
        state: bytes,
        identity: Mapping[str, object],
    ) -> None:
        self.fs.mkdir(stage)
        written: dict[str, Written] = {}
        for group, tensors in files.items():
            name = f"{group}.safetensors"
            written[name] = write_file(self.fs, stage / name, tensor_chunks(tensors))
        written[STATE] = write_file(self.fs, stage / STATE, [state])
        write_file(self.fs, stage / MANIFEST, [manifest_bytes(step, written, identity)])
        self.fs.sync_folder(stage)

    def _commit(self, stage: Path, target: Path) -> None:
        replaced = self.folder / f".old-{target.name}"
        if target.exists():
            self.fs.rename(target, replaced)
        self.fs.rename(stage, target)
        self.fs.sync_folder(self.folder)
        if replaced.exists():
            self._retention.discard(replaced)


def _check_names(step: int, keep: int, files: Mapping[str, object]) -> None:
    bad = [name for name in files if not TENSOR_NAME.fullmatch(name) or name == "state"]
    if keep < 1 or step < 0 or bad:
        raise ValueError(f"keep={keep} or step={step} too small, or bad names: {bad}")
