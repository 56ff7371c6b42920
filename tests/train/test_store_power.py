"""A power cut may forget everything that was not flushed, in any combination."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.errors import CheckpointError
from diffpref.io.fs import Buffer
from diffpref.train.store import Store
from tests.faults import CountingFs, counting, quiet

MAX_SUBSETS = 64


@dataclass
class Recorder:
    """Passes calls on and writes down what each does to files and folders, by identity.

    An effect is (kind, owner, details): "link", "unlink" and "rename" belong to a folder and become
    durable when the folder is flushed; "write" belongs to a file. `flushed[i]` lists the effects
    made durable before effect i.
    """

    root: Path
    effects: list[tuple[str, int, tuple[object, ...]]] = field(default_factory=list)
    durable_at: dict[int, int] = field(default_factory=dict)
    ids: dict[Path, int] = field(default_factory=dict)
    handles: dict[int, int] = field(default_factory=dict)
    fs: CountingFs = field(default_factory=counting)
    forgetful: bool = False

    def __post_init__(self) -> None:
        self.ids[self.root] = 0

    def _new(self, path: Path, kind: str) -> int:
        number = len(self.effects) + 1
        self.ids[path] = number
        self.effects.append(("link", self.ids[path.parent], (path.name, number, kind)))
        return number

    def _flush(self, owner: int) -> None:
        if not self.forgetful:
            for index, (_, whose, _) in enumerate(self.effects):
                if whose == owner:
                    self.durable_at.setdefault(index, len(self.effects))

    def mkdir(self, path: Path) -> None:
        self.fs.mkdir(path)
        self._new(path, "folder")

    def create(self, path: Path) -> int:
        handle = self.fs.create(path)
        self.handles[handle] = self._new(path, "file")
        return handle

    def write(self, handle: int, data: Buffer) -> None:
        self.fs.write(handle, data)
        self.effects.append(("write", self.handles[handle], (bytes(data),)))

    def fsync(self, handle: int) -> None:
        self.fs.fsync(handle)
        self._flush(self.handles[handle])

    def close(self, handle: int) -> None:
        self.fs.close(handle)

    def sync_folder(self, path: Path) -> None:
        self.fs.sync_folder(path)
        self._flush(self.ids[path])

    def rename(self, source: Path, target: Path) -> None:
        self.fs.rename(source, target)
        self.effects.append(("rename", self.ids[source.parent], (source.name, target.name)))
        moved = [path for path in self.ids if path == source or source in path.parents]
        self.ids |= {target / path.relative_to(source): self.ids.pop(path) for path in moved}

    def unlink(self, path: Path) -> None:
        self.fs.unlink(path)
        self.effects.append(("unlink", self.ids[path.parent], (path.name,)))

    def rmdir(self, path: Path) -> None:
        self.unlink_folder(path)

    def unlink_folder(self, path: Path) -> None:
        self.fs.rmdir(path)
        self.effects.append(("unlink", self.ids[path.parent], (path.name,)))


Tree = tuple[tuple[str, Any], ...]


def replay(recorder: Recorder, kept: set[int]) -> Tree:
    """Return the folder that a disk would show which kept exactly these effects."""
    folders: dict[int, dict[str, int]] = {0: {}}
    files: dict[int, bytes] = {}
    for index, (kind, owner, details) in enumerate(recorder.effects):
        if kind == "link":
            number = int(str(details[1]))
            folders |= {number: {}} if details[2] == "folder" else {}
            files |= {number: b""} if details[2] == "file" else {}
        if index not in kept:
            continue
        if kind == "write":
            assert isinstance(details[0], bytes)
            files[owner] += details[0]
        else:
            change_names(folders[owner], kind, details)
    root = show(0, folders, files)
    assert isinstance(root, tuple)
    return root


def change_names(entries: dict[str, int], kind: str, details: tuple[object, ...]) -> None:
    if kind == "link":
        entries[str(details[0])] = int(str(details[1]))
    elif kind == "unlink":
        entries.pop(str(details[0]), None)
    elif details[0] in entries:
        entries[str(details[1])] = entries.pop(str(details[0]))


def show(number: int, folders: dict[int, dict[str, int]], files: dict[int, bytes]) -> bytes | Tree:
    if number in files:
        return files[number]
    entries = sorted(folders[number].items())
    return tuple((name, show(child, folders, files)) for name, child in entries)


def materialise(tree: Tree, folder: Path) -> None:
    folder.mkdir()
    for name, value in tree:
        if isinstance(value, bytes):
            (folder / name).write_bytes(value)
        else:
            materialise(value, folder / name)


def outcomes(recorder: Recorder, prefix: int) -> Iterator[Tree]:
    """Yield what may be found after a cut following `prefix` effects."""
    sure = {i for i in range(prefix) if recorder.durable_at.get(i, prefix + 1) <= prefix}
    loose = [i for i in range(prefix) if i not in sure]
    if 2 ** len(loose) <= MAX_SUBSETS:
        choices = list(product((False, True), repeat=len(loose)))
    else:
        rng = random.Random(prefix)
        choices = [tuple(rng.random() < 0.5 for _ in loose) for _ in range(MAX_SUBSETS - 2)]
        choices += [(False,) * len(loose), (True,) * len(loose)]
    for choice in choices:
        yield replay(recorder, sure | {i for i, kept in zip(loose, choice, strict=True) if kept})


def run(recorder: Recorder, saves: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Save (step, keep) one after the other; return (effects so far, step) at each success."""
    acknowledged: list[tuple[int, int]] = []
    store = Store(recorder.root, fs=recorder)
    for step, keep in saves:
        files = {"trainable": {"a": torch.full((4,), float(step))}}
        store.save(step, files=files, state={"step": step}, identity={}, keep=keep, best=step == 1)
        acknowledged.append((len(recorder.effects), step))
    return acknowledged


def losses(recorder: Recorder, acknowledged: list[tuple[int, int]], scratch: Path) -> list[str]:
    """Return a sentence for every cut after which an acknowledged checkpoint is not found."""
    seen: dict[tuple[Tree, int], None] = {}
    for prefix in range(len(recorder.effects) + 1):
        promised = max([step for size, step in acknowledged if size <= prefix], default=0)
        for tree in outcomes(recorder, prefix):
            seen.setdefault((tree, promised))
    found: list[str] = []
    for number, (tree, promised) in enumerate(seen):
        materialise(tree, scratch / str(number))
        store = Store(scratch / str(number), log=quiet)
        if promised:
            found += [f"{promised} was promised: {text}" for text in missing(store, promised)]
    return found


def missing(store: Store, promised: int) -> list[str]:
    try:
        latest, best = store.latest(), store.best()
    except CheckpointError as error:
        return [error.what]
    if latest is None or best is None:
        return ["nothing is there"]
    return [] if latest.step >= promised else [f"{latest.step} is there"]


HISTORIES = {"keep one": [(1, 1), (2, 1)], "again": [(1, 2), (1, 2)], "three": [(1, 2), (2, 2)]}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_power_cut_loses_nothing_that_was_acknowledged(
    tmp_path: Path, history: str, count: Callable[[str, int], None]
) -> None:
    root = tmp_path / "run"
    root.mkdir()
    recorder = Recorder(root)
    acknowledged = run(recorder, HISTORIES[history])
    everything = set(range(len(recorder.effects)))
    materialise(replay(recorder, everything), tmp_path / "replayed")
    assert tree_of(tmp_path / "replayed") == tree_of(root), "the model is not the file system"
    assert losses(recorder, acknowledged, scratch(tmp_path)) == []
    count("disks after a power cut", len(list((tmp_path / "scratch").iterdir())))


def test_the_model_notices_a_store_that_does_not_flush(tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    recorder = Recorder(root, forgetful=True)
    acknowledged = run(recorder, HISTORIES["keep one"])
    assert len(losses(recorder, acknowledged, scratch(tmp_path))) > 10


def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
