"""A run that is cut and resumed is the run that was never cut; a stop is a pause."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.config import RunConfig
from diffpref.errors import CheckpointError, Preempted
from diffpref.run.execute import execute
from diffpref.run.watch import Watch
from diffpref.train.log import read_metrics
from diffpref.train.store import Store

Make = Callable[..., RunConfig]


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def final(folder: Path) -> dict[str, torch.Tensor]:
    newest = Store(folder / "checkpoints").latest()
    assert newest is not None
    return {
        f"{group}/{name}": value
        for group in newest.names
        for name, value in newest.tensors(group).items()
    }


def lines(folder: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in line.items() if key != "seconds"}
        for line in read_metrics(folder / "metrics.jsonl")
    ]


def kill_at(step: int) -> Watch:
    def watch(done: int, values: dict[str, object]) -> None:
        del values
        if done == step:
            raise Killed

    return Watch(step=watch)


def assert_same(one: Path, other: Path) -> None:
    mine, theirs = final(one), final(other)
    assert mine.keys() == theirs.keys()
    different = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert different == []
    assert lines(one) == lines(other)


@pytest.mark.parametrize("ema", [False, True])
def test_a_run_killed_at_any_step_and_resumed_is_the_uninterrupted_run(
    make_config: Make, tmp_path: Path, ema: bool
) -> None:
    """Eight steps of two pairs over ten rows: cuts mid-epoch and on both sides of an edge."""
    extra: dict[str, Any] = {"ema": {"decay": 0.9}} if ema else {}
    config = make_config(loop__steps=8, save__every=1, optimizer__warmup=3, **extra)
    whole = tmp_path / "whole"
    execute(config, whole)
    for step in (1, 4, 5, 6, 8) if ema else range(1, 9):
        cut = tmp_path / f"cut-{step}"
        with pytest.raises(Killed):
            execute(config, cut, watch=kill_at(step))
        execute(config, cut, resume="auto")
        assert_same(whole, cut)


def test_sigterm_saves_and_the_resumed_run_is_the_same(make_config: Make, tmp_path: Path) -> None:
    config = make_config(loop__steps=6, save__every=100)
    execute(config, tmp_path / "whole")

    def terminate(done: int, values: dict[str, object]) -> None:
        del values
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted) as stopped:
        execute(config, tmp_path / "cut", watch=Watch(step=terminate))
    assert stopped.value.exit_code == 75
    newest = Store(tmp_path / "cut" / "checkpoints").latest()
    assert newest is not None
    assert newest.step == 3
    execute(config, tmp_path / "cut", resume="auto")
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_a_moving_reference_survives_resuming(make_config: Make, tmp_path: Path) -> None:
    config = make_config(
        loop__steps=6, save__every=1, reference={"kind": "moving", "refresh_every": 2}
    )
    execute(config, tmp_path / "whole")
    with pytest.raises(Killed):
        execute(config, tmp_path / "cut", watch=kill_at(4))
    execute(config, tmp_path / "cut", resume="auto")
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_the_feature_network_of_a_resumed_full_fine_tune_is_the_base_s(
    make_config: Make, tmp_path: Path
) -> None:
    config = make_config(
        adapter={"kind": "full"},
        reference={"kind": "frozen"},
        method={"name": "ncp_dpo", "beta": 2000},
        optimizer__lr=1e-4,
        loop__steps=4,
        save__every=1,
    )
    execute(config, tmp_path / "whole")
    with pytest.raises(Killed):
        execute(config, tmp_path / "cut", watch=kill_at(2))
    execute(config, tmp_path / "cut", resume="auto")
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_a_checkpoint_of_other_settings_is_refused_field_by_field(
    make_config: Make, tmp_path: Path
) -> None:
    execute(make_config(loop__steps=2), tmp_path / "run")
    other = make_config(loop__steps=4, method={"name": "diffusion_dpo", "beta": 100})
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    with pytest.raises(CheckpointError, match=r"config\.method\.beta"):
        execute(other, tmp_path / "run", resume="auto")
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before
    allowed = ("config.method.beta",)
    execute(other, tmp_path / "run", resume="auto", allow=allowed)
    newest = Store(tmp_path / "run" / "checkpoints").latest()
    assert newest is not None
    assert newest.step == 4


def test_a_new_run_never_starts_over_an_old_one(make_config: Make, tmp_path: Path) -> None:
    execute(make_config(loop__steps=2), tmp_path / "run")
    with pytest.raises(CheckpointError, match="earlier run"):
        execute(make_config(loop__steps=2), tmp_path / "run")


def test_going_back_to_an_older_checkpoint_sets_the_newer_ones_aside(
    make_config: Make, tmp_path: Path
) -> None:
    config = make_config(loop__steps=6, save__every=2)
    execute(config, tmp_path / "whole")
    execute(config, tmp_path / "back")
    checkpoints = tmp_path / "back" / "checkpoints"
    said: list[str] = []
    older = str(checkpoints / "step-00000002")
    execute(config, tmp_path / "back", resume=older, watch=Watch(say=said.append))
    assert_same(tmp_path / "whole", tmp_path / "back")
    assert len(list(checkpoints.glob("abandoned-step-*"))) == 2
    assert any("step-00000006" in sentence for sentence in said)
