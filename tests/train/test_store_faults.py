"""Whatever stops a save, and wherever, the last acknowledged checkpoint is still there."""

import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffpref.errors import DiskError
from diffpref.io.fs import Fs
from diffpref.train.manifest import Checkpoint
from diffpref.train.store import Store
from tests.faults import CountingFs, Died, counting, dying_at, full_disk_at, quiet

Count = Callable[[str, int], None]


def save(store: Store, step: int, *, keep: int, best: bool = False, size: int = 64) -> None:
    group = {"a": torch.full((size,), float(step)), "b": torch.arange(3) + step}
    store.save(
        step,
        files={"trainable": group, "optimizer": {"m": torch.full((9,), float(step))}},
        state={"step": step},
        identity={"seed": 1},
        keep=keep,
        best=best,
    )


def content(found: Checkpoint) -> int:
    """Return the one step that every part of a checkpoint agrees on."""
    group = found.tensors("trainable")
    said = {found.step, found.state["step"], int(found.tensors("optimizer")["m"][0])}
    said |= set(group["a"].tolist()) | {int(group["b"][0])}
    assert len(said) == 1
    return said.pop()


# (checkpoints before, step saved, keep, best): every branch of a save is some row's path
HISTORIES = [
    ([], 1, 1, False),
    ([1], 2, 1, False),
    ([1], 2, 1, True),
    ([1, 2], 3, 2, True),
    ([1, 2], 2, 1, False),
    ([1, 2, 3], 3, 3, True),
    ([1], 1, 1, False),
]


def begin(folder: Path, steps: list[int]) -> None:
    """Make a folder with these checkpoints, the first of them the best."""
    master = folder.parent / "master"
    if not master.exists():
        master.mkdir()
        for step in steps:
            save(Store(master, fs=counting()), step, keep=9, best=step == 1)
    shutil.copytree(master, folder)


def attempt(folder: Path, fs: Fs, row: tuple[list[int], int, int, bool]) -> bool:
    """Save through a breaking file system; say whether the save was acknowledged."""
    _, step, keep, best = row
    try:
        save(Store(folder, fs=fs, log=quiet), step, keep=keep, best=best)
    except (Died, DiskError):
        return False
    return True


def check_survival(folder: Path, row: tuple[list[int], int, int, bool], done: bool) -> None:
    before, step, keep, _ = row
    found = Store(folder, log=quiet).latest()
    if found is None:
        assert not done, "an acknowledged checkpoint is gone"
        assert not before, "an earlier checkpoint is gone"
    else:
        assert content(found) >= max([step] if done else before or [0])
    if 1 in before:
        best = Store(folder).best()
        assert best is not None, "the best is gone"
        assert content(best) in (1, step)
    save(Store(folder, fs=counting()), step + 1, keep=keep)
    after = Store(folder).latest()
    assert after is not None
    assert content(after) == step + 1, "the run cannot go on"
    left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert left == [], "leftovers are not removed"


BEFORE = pytest.param(False, id="before", marks=pytest.mark.slow)
ONCE = pytest.param(False, id="once", marks=pytest.mark.slow)


@pytest.mark.parametrize("half", [BEFORE, pytest.param(True, id="half-written")])
@pytest.mark.parametrize("row", HISTORIES, ids=str)
def test_dying_at_any_file_operation_loses_nothing(
    tmp_path: Path, row: tuple[list[int], int, int, bool], half: bool, count: Count
) -> None:
    begin(tmp_path / "count", row[0])
    fs = counting()
    assert attempt(tmp_path / "count", fs, row)
    assert fs.calls >= 20
    assert {"write", "fsync", "close", "sync_folder", "rename"} <= set(fs.names)
    for last in range(fs.calls + 1):
        folder = tmp_path / str(last)
        begin(folder, row[0])
        done = attempt(folder, dying_at(last, half=half), row)
        assert done == (last == fs.calls)
        check_survival(folder, row, done)
    count("crash points", fs.calls + 1)


@pytest.mark.parametrize("for_ever", [ONCE, pytest.param(True, id="until-freed")])
@pytest.mark.parametrize("row", HISTORIES, ids=str)
def test_a_disk_that_fills_at_any_operation_damages_nothing(
    tmp_path: Path, row: tuple[list[int], int, int, bool], for_ever: bool, count: Count
) -> None:
    begin(tmp_path / "count", row[0])
    fs = counting()
    attempt(tmp_path / "count", fs, row)
    for first in range(fs.calls):
        folder = tmp_path / str(first)
        begin(folder, row[0])
        done = attempt(folder, full_disk_at(first, for_ever=for_ever), row)
        if fs.names[first] in ("write", "create", "fsync"):
            assert not done, "a save that was not written must not be acknowledged"
        check_survival(folder, row, done)
    count("full-disk points", fs.calls)


def test_the_enumeration_notices_a_store_that_prunes_first(tmp_path: Path) -> None:
    """A store that makes room before it writes, as the common scripts do, must be caught."""

    def prune_then_save(folder: Path, fs: CountingFs) -> None:
        store = Store(folder, fs=fs, log=quiet)
        store._retention.discard(folder / "step-00000001")
        save(store, 2, keep=1)

    begin(tmp_path / "count", [1])
    fs = counting()
    prune_then_save(tmp_path / "count", fs)
    lost = 0
    for last in range(fs.calls):
        folder = tmp_path / str(last)
        begin(folder, [1])
        with pytest.raises(Died):
            prune_then_save(folder, dying_at(last, half=False))
        lost += Store(folder, log=quiet).latest() is None
    assert lost > fs.calls // 2


def test_a_full_disk_is_explained_and_the_staging_is_removed(tmp_path: Path) -> None:
    save(Store(tmp_path), 1, keep=1)
    fs = full_disk_at(4, for_ever=False)
    with pytest.raises(DiskError, match=r"No space left.* MiB needed, .* MiB free") as caught:
        save(Store(tmp_path, fs=fs), 2, keep=1)
    assert caught.value.exit_code == 10
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_real_file_size_limit_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    save(Store(tmp_path), 1, keep=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(DiskError, match="too large"):
            save(Store(tmp_path), 2, keep=1, size=100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    found = Store(tmp_path).latest()
    assert found is not None
    assert content(found) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_folder_that_cannot_be_written_fails_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DiskError) as caught:
        Store(tmp_path / "file" / "checkpoints").prepare()
    assert caught.value.exit_code == 10
    if os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "shut").mkdir(mode=0o500)
        with pytest.raises(DiskError, match="Permission denied"):
            Store(tmp_path / "shut").prepare()


def test_a_probe_that_is_refused_fails_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="No space left"):
        Store(tmp_path, fs=full_disk_at(1, for_ever=True)).prepare()


def save_for_ever(folder: Path, start: int, ready: int, keep: int) -> None:
    """Child process: save, acknowledge on the pipe, save again, until killed."""
    store = Store(folder, fs=counting(), log=quiet)
    step = start
    while True:
        step += 1
        save(store, step, keep=keep, best=step % 3 == 0, size=5000)
        os.write(ready, step.to_bytes(4, "big"))


def kill_one(folder: Path, start: int, keep: int, wait: float) -> int:
    """Return the last step a child acknowledged before it was killed after `wait` seconds."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            save_for_ever(folder, start, writer, keep)
        finally:
            os._exit(1)
    os.close(writer)
    os.read(reader, 4 if wait > 0.01 else 0)
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    said = b""
    while block := os.read(reader, 1 << 16):
        said += block
    os.close(reader)
    return max([start, *(int.from_bytes(said[i : i + 4]) for i in range(0, len(said) - 3, 4))])


def kill_often(folder: Path, kills: int) -> int:
    rng, acknowledged, saves = random.Random(kills), 0, 0
    folder.mkdir()
    for turn in range(kills):
        before = acknowledged
        # the first acknowledgement of a child is consumed above; it is at least start + 1
        said = kill_one(folder, before, keep=1 + turn % 2, wait=rng.uniform(0, 0.03))
        found = Store(folder, log=quiet).latest()
        if found is None:
            assert said == 0
            continue
        acknowledged = content(found)
        assert acknowledged >= said
        saves += acknowledged - before
    return saves


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_random_kills_lose_nothing(tmp_path: Path, count: Count) -> None:
    assert kill_often(tmp_path / "run", 20) >= 10
    count("kills", 20)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_two_hundred_random_kills_lose_nothing(tmp_path: Path, count: Count) -> None:
    assert kill_often(tmp_path / "run", 200) >= 100
    count("kills", 200)
