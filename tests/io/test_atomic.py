"""A file is the old one or the new one; a journal keeps every line it acknowledged."""

import json
import logging
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
import torch

from diffpref.errors import DiskError
from diffpref.io import Journal, load_weights, save_tensors, write_atomic, write_json
from diffpref.io.fs import Fs, RealFs, remove_tree
from tests.faults import Died, counting, dying_at, full_disk_at

WRITERS: dict[str, Callable[[Path, int, Fs], None]] = {
    "bytes": lambda path, n, fs: write_atomic(path, b"%d" % n * 50, fs=fs),
    "text": lambda path, n, fs: write_atomic(path, f"é{n}" * 50, fs=fs),
    "json": lambda path, n, fs: write_json(path, {"n": [n] * 20}, fs=fs),
    "tensors": lambda path, n, fs: save_tensors(path, {"n": torch.full((9,), n)}, fs=fs),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("half", [False, True])
def test_dying_anywhere_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, write: Callable[[Path, int, Fs], None], half: bool
) -> None:
    file = tmp_path / "file"
    write(file, 1, RealFs())
    old = file.read_bytes()
    fs = counting()
    write(file, 2, fs)
    new = file.read_bytes()
    assert fs.names[-4:] == ["fsync", "close", "rename", "sync_folder"]
    for last in range(fs.calls):
        write(file, 1, RealFs())
        with pytest.raises(Died):
            write(file, 2, dying_at(last, half=half))
        assert file.read_bytes() == (new if last == fs.calls - 1 else old)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, write: Callable[[Path, int, Fs], None]
) -> None:
    file = tmp_path / "file"
    write(file, 1, RealFs())
    old = file.read_bytes()
    fs = counting()
    write(file, 1, fs)
    for first in range(fs.calls - 1):
        with pytest.raises(DiskError, match="No space left"):
            write(file, 2, full_disk_at(first, for_ever=True))
        assert file.read_bytes() == old
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_get_ordinary_permissions_and_text_is_utf8(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        write_atomic(tmp_path / "a", "é\u2028")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").read_bytes() == "é\u2028".encode()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_json_refuses_what_json_cannot_say(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1.5, "y": "é"})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"x": 1.5, "y": "é"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"x": 1.5, "y": "é"}


def test_a_missing_folder_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="No such file"):
        write_atomic(tmp_path / "nowhere" / "a", b"x")


def test_saved_tensors_load(tmp_path: Path) -> None:
    save_tensors(str(tmp_path / "a.safetensors"), {"w": torch.ones(2)})
    assert torch.equal(load_weights(str(tmp_path / "a.safetensors"))["w"], torch.ones(2))


def test_removing_a_tree_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "file").write_text("x")
    (tmp_path / "go" / "deep").mkdir(parents=True)
    (tmp_path / "go" / "link").symlink_to(tmp_path / "keep")
    (tmp_path / "go" / "deep" / "file").write_text("x")
    remove_tree(RealFs(), tmp_path / "go")
    remove_tree(RealFs(), tmp_path / "nothing")
    assert (tmp_path / "keep" / "file").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]


def test_a_journal_keeps_its_lines_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "labels.jsonl")
    assert list(journal.read()) == []
    rows = [{"n": n, "text": "é\n\u2028"} for n in range(5)]
    for row in rows:
        journal.append(row)
    assert list(Journal(tmp_path / "labels.jsonl").read()) == rows


def test_every_torn_line_is_skipped_and_never_glued(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "labels.jsonl"
    Journal(file).append({"n": 1})
    Journal(file).append({"n": 2})
    whole = file.read_bytes()
    second = whole.index(b"\n") + 1
    for cut in range(second, len(whole)):
        file.write_bytes(whole[:cut])
        Journal(file).append({"n": 3})
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            rows = [row["n"] for row in Journal(file).read()]
        complete = cut in (len(whole) - 1, len(whole))
        assert rows == ([1, 2, 3] if complete else [1, 3])
        torn = second < cut and not complete
        assert [record.levelname for record in caplog.records] == ["WARNING"] * torn


def test_a_journal_refuses_what_cannot_be_read_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        journal.append({"x": float("inf")})
    with pytest.raises(ValueError, match="exceeds"):
        journal.append({"x": "y" * 2**20})
    assert not (tmp_path / "a.jsonl").exists()
    with pytest.raises(DiskError):
        Journal(tmp_path / "none" / "a.jsonl").append({})


def test_threads_may_share_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.jsonl")

    def work(thread: int) -> None:
        for n in range(25):
            journal.append({"id": thread * 25 + n, "pad": "x" * 500})

    threads = [Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(str(row["id"])) for row in journal.read()) == list(range(100))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_acknowledged_lines_survive_kills(tmp_path: Path) -> None:
    file, start = tmp_path / "a.jsonl", 0
    for _ in range(5):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            for n in range(start, start + 10**6):
                Journal(file).append({"n": n})
                os.write(writer, n.to_bytes(4, "big"))
            os._exit(0)
        os.close(writer)
        said = b"".join(os.read(reader, 4) for _ in range(5))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while block := os.read(reader, 1 << 16):
            said += block
        os.close(reader)
        last = int.from_bytes(said[-4:])
        rows = [row["n"] for row in Journal(file).read()]
        assert rows[: last + 1] == list(range(last + 1))
        start = len(rows)
