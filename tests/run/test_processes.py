"""Two and four gloo processes learn what one process learns."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffpref.config import RunConfig, dump_config
from diffpref.run.execute import execute
from diffpref.train.log import read_metrics
from diffpref.train.store import Store
from tests.run.launched import launch


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_learn_what_one_learns(
    processes: int, make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    shared = {"model__dtype": "fp64", "loop__steps": 3, "optimizer__weight_decay": 0.1}
    execute(make_config(data__pairs_per_batch=4, **shared), tmp_path / "one")
    path = tmp_path / "several.yaml"
    # one row per pass, so that gradients are synchronised in the last of several passes
    each = make_config(data__pairs_per_batch=4 // processes, loop__rows_per_pass=1, **shared)
    path.write_text(dump_config(each))
    launch(["torch.distributed.run", f"--nproc_per_node={processes}"], path, tmp_path / "several")
    environment = json.loads((tmp_path / "several" / "env.json").read_text())
    assert environment["processes"] == processes
    stores = [Store(tmp_path / name / "checkpoints").latest() for name in ("one", "several")]
    mine, theirs = (found.tensors("trainable") for found in stores if found is not None)
    assert mine.keys() == theirs.keys()
    assert max(float((mine[name] - theirs[name]).abs().max()) for name in mine) < 1e-10
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "several")]
    for one, other in zip(*lines, strict=True):
        assert abs(one["loss"] - other["loss"]) < 1e-6
        assert abs(one["implicit_accuracy"] - other["implicit_accuracy"]) < 1e-6
        assert abs(one["grad_norm"] - other["grad_norm"]) < 1e-5 * one["grad_norm"]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_inversions_shared_evenly_teach_what_one_process_learns(
    processes: int, make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    method = {"name": "smpo", "beta": 2000, "steps": 5}
    shared = {"model__dtype": "fp64", "loop__steps": 3, "method": method}
    execute(make_config(data__pairs_per_batch=8, **shared), tmp_path / "one")
    path = tmp_path / "several.yaml"
    each = make_config(data__pairs_per_batch=8 // processes, loop__rows_per_pass=1, **shared)
    path.write_text(dump_config(each))
    launch(["torch.distributed.run", f"--nproc_per_node={processes}"], path, tmp_path / "several")
    stores = [Store(tmp_path / name / "checkpoints").latest() for name in ("one", "several")]
    mine, theirs = (found.tensors("trainable") for found in stores if found is not None)
    assert mine.keys() == theirs.keys()
    assert max(float((mine[name] - theirs[name]).abs().max()) for name in mine) < 1e-10


def test_accelerate_launch_is_diffpref_train(
    make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = make_config(loop__steps=2)
    execute(config, tmp_path / "here")
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(config))
    launch(["accelerate.commands.launch", "--cpu", "--num_processes=1"], path, tmp_path / "there")
    stores = [Store(tmp_path / name / "checkpoints").latest() for name in ("here", "there")]
    mine, theirs = (found.tensors("trainable") for found in stores if found is not None)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
