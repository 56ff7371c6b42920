"""One process per run folder, and a dead one does not count."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffpref.errors import UsageError
from diffpref.train.lock import Holder, RunLock


def write_lock(folder: Path, **changes: object) -> None:
    me = Holder.me()
    entry = {name: getattr(me, name) for name in ("pid", "started", "boot", "space", "host")}
    (folder / "run.lock").write_text(json.dumps(entry | changes))


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_second_holder_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        before = (tmp_path / "run.lock").read_bytes()
        with (
            pytest.raises(UsageError, match=f"process {os.getpid()} on") as caught,
            RunLock(tmp_path),
        ):
            pass
        assert "--out" in str(caught.value)
        assert (tmp_path / "run.lock").read_bytes() == before
    assert list(tmp_path.iterdir()) == []
    with RunLock(tmp_path):
        pass


def test_another_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys; from diffpref.train.lock import RunLock\n"
        "try:\n"
        "    RunLock(sys.argv[1]).__enter__()\n"
        "except Exception as error: print(type(error).__name__)"
    )
    with RunLock(tmp_path):
        said = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
        )
    assert said.stdout.strip() == "UsageError"


@pytest.mark.parametrize("change", ["dead", "reused pid", "earlier boot"])
def test_a_lock_of_a_process_that_is_gone_is_taken_over(tmp_path: Path, change: str) -> None:
    changes: dict[str, dict[str, object]] = {
        "dead": {"pid": dead_pid()},
        "reused pid": {"started": "1"},
        "earlier boot": {"boot": "another", "space": "x"},
    }
    write_lock(tmp_path, **changes[change])
    with RunLock(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["started"] == Holder.me().started


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"space": "pid:[1]"}])
def test_a_process_that_cannot_be_seen_is_never_pushed_aside(
    tmp_path: Path, change: dict[str, object]
) -> None:
    write_lock(tmp_path, pid=dead_pid(), **change)
    with pytest.raises(UsageError), RunLock(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "1"}', '{"pid": 1}'])
def test_an_unreadable_lock_is_left_to_the_user(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.lock").write_text(text)
    with pytest.raises(UsageError, match="cannot be identified") as caught, RunLock(tmp_path):
        pass
    assert "delete run.lock" in str(caught.value)
    assert (tmp_path / "run.lock").read_text() == text


def test_a_lock_that_was_taken_away_is_not_removed(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        write_lock(tmp_path, host="elsewhere")
    assert (tmp_path / "run.lock").exists()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_release_the_lock(tmp_path: Path) -> None:
    with RunLock(tmp_path) as lock:
        child = os.fork()
        if child == 0:
            lock.__exit__(None, None, None)
            os._exit(0)
        os.waitpid(child, 0)
        assert (tmp_path / "run.lock").exists()
