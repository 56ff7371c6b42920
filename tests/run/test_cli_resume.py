"""Through the command line: killed at every step or stopped in any phase, it is the same run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.cli import main
from diffpref.cli import train as train_verb
from diffpref.config import RunConfig, dump_config
from diffpref.io.fs import RealFs
from diffpref.run import execute as execute_module
from diffpref.run.validate import Validator
from diffpref.train import backward, loop, step
from diffpref.train.ema import Ema
from diffpref.train.log import RunLog
from diffpref.train.store import Store
from tests.run.test_resume import Killed, assert_same

Make = Callable[..., RunConfig]
Count = Callable[[str, int], None]


def written(config: RunConfig, path: Path) -> str:
    path.write_text(dump_config(config))
    return str(path)


@pytest.fixture
def whole(make_config: Make, tmp_path: Path) -> tuple[str, Path]:
    """Twenty steps that were never cut: (configuration, run)."""
    config = written(make_config(loop__steps=20, save__every=1), tmp_path / "run.yaml")
    assert main(["train", config, "--out", str(tmp_path / "whole")]) == 0
    return config, tmp_path / "whole"


@pytest.mark.slow
def test_killed_after_every_step_and_continued_by_the_command_it_is_the_same_run(
    whole: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    config, run = whole
    real = train_verb.numbers
    out = tmp_path / "cut"

    def die(values: dict[str, object]) -> str:
        del values
        raise Killed

    for cut in range(20):
        # a step is told before it is saved, so that the step of the kill is made again
        monkeypatch.setattr(train_verb, "numbers", skipping(min(cut, 1), die))
        with pytest.raises(Killed):
            main(["train", config, "--out", str(out), "--resume", "auto"])
        newest = Store(out / "checkpoints").latest()
        assert (newest.step if newest else 0) == cut
    monkeypatch.setattr(train_verb, "numbers", real)
    assert main(["train", str(out)]) == 0
    assert_same(run, out)
    count("cuts", 20)


def skipping(times: int, then: Callable[[dict[str, object]], str]) -> Callable[[Any], str]:
    """Pass `times` calls, then do something else."""
    left = [times]

    def call(values: dict[str, object]) -> str:
        left[0] -= 1
        return "" if left[0] >= 0 else then(values)

    return call


def started(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "diffpref", "train", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)


@pytest.mark.slow
def test_a_process_that_is_really_killed_goes_on_as_if_it_had_not_been(
    whole: tuple[str, Path], tmp_path: Path, count: Count
) -> None:
    config, run = whole
    out = tmp_path / "cut"
    kills = 0
    for least in (2, 9, 15):
        process = started(config, "--out", str(out), "--resume", "auto")
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            if any(int(p.name[5:]) >= least for p in (out / "checkpoints").glob("step-*")):
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        process.wait()
    assert kills >= 1, "it was done before it could be killed"
    assert started(str(out)).wait() == 0
    assert_same(run, out)
    count("processes killed", kills)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Where SIGTERM arrives: at call `nth` of `name` of `owner`, before or after it."""

    owner: object
    name: str
    nth: int = 3
    after: bool = False


PHASES: dict[str, Phase] = {
    "the model is loaded": Phase(owner=execute_module, name="load_model", nth=1),
    "images are encoded": Phase(owner=execute_module, name="_cached", nth=1),
    "the run is assembled": Phase(owner=execute_module, name="_assembled", nth=1, after=True),
    "before the first step": Phase(owner=execute_module, name="_validator", nth=1),
    "between two steps": Phase(owner=loop, name="fitting_step"),
    "the networks were asked": Phase(owner=backward, name="_compared"),
    "gradients flow": Phase(owner=torch.autograd, name="backward"),
    "the gradient is clipped": Phase(owner=step, name="_clip"),
    "the weights change": Phase(owner=step, name="_update"),
    "the average follows": Phase(owner=Ema, name="update", after=True),
    "validation": Phase(owner=Validator, name="__call__", nth=1),
    "a checkpoint is written": Phase(owner=RealFs, name="write", nth=9),
    "a checkpoint gets its name": Phase(owner=RealFs, name="rename", nth=2),
    "numbers are logged": Phase(owner=RunLog, name="metrics", after=True),
}


def signalled(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Send SIGTERM to this process in a phase; return the list that then holds one entry."""
    real, calls, sent = getattr(phase.owner, phase.name), [0], []

    def send() -> None:
        calls[0] += 1
        if calls[0] == phase.nth:
            sent.append(calls[0])
            os.kill(os.getpid(), signal.SIGTERM)

    def call(*args: Any, **more: Any) -> Any:
        if not phase.after:
            send()
        result = real(*args, **more)
        if phase.after:
            send()
        return result

    monkeypatch.setattr(phase.owner, phase.name, call)
    return sent


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Path]]:
    """Where the run that nobody stopped is kept for all phases."""
    del tmp_path_factory
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("name", PHASES)
def test_asked_to_stop_in_any_phase_it_saves_exits_75_and_finishes_as_if_never_asked(
    name: str,
    make_config: Make,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    shared: dict[str, tuple[str, Path]],
    count: Count,
) -> None:
    if not shared:
        folder = tmp_path_factory.mktemp("whole")
        (folder / "prompts.txt").write_text("a thing\nanother thing\n")
        evaluate = {"every": 3, "n": 2, "steps": 2, "scorers": ["brightness"]}
        config = make_config(
            loop__steps=6,
            ema={"decay": 0.9},
            evaluate={**evaluate, "prompts": str(folder / "prompts.txt")},
        )
        path = written(config, folder / "run.yaml")
        assert main(["train", path, "--out", str(folder / "run")]) == 0
        shared["whole"] = (path, folder / "run")
    config, run = shared["whole"]
    with pytest.MonkeyPatch.context() as patched:
        sent = signalled(PHASES[name], patched)
        assert main(["train", config, "--out", str(tmp_path / "cut")]) == 75
    assert len(sent) == 1
    newest = Store(tmp_path / "cut" / "checkpoints").latest()
    assert newest is not None
    assert newest.step < 6
    assert main(["train", str(tmp_path / "cut")]) == 0
    assert_same(run, tmp_path / "cut")
    count("phases", 1)
