"""Numbers that go bad anywhere, on any rank: no rank's weights change, and the run goes on."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from diffpref.config import RunConfig, dump_config
from diffpref.run.execute import execute
from diffpref.train import step as step_module
from diffpref.train.log import read_metrics
from diffpref.train.store import Store
from tests.run import poisoned
from tests.run.launched import ROOT, launch

Make = Callable[..., RunConfig]
Count = Callable[[str, int], None]


def check(run: Path, plan: dict[int, tuple[int, str]]) -> None:
    """Assert that the weights stood still in exactly the poisoned steps, and that it was logged."""
    store = Store(run / "checkpoints")
    groups = [
        store.open(path).tensors("trainable") | store.open(path).tensors("optimizer")
        for path in sorted((run / "checkpoints").glob("step-*"))
    ]
    assert len(groups) == 2 * len(plan) + 1
    for step, (before, after) in enumerate(pairwise(groups), start=1):
        same = all(torch.equal(before[name], after[name]) for name in before)
        assert same == (step in plan), step
        assert all(bool(value.isfinite().all()) for value in after.values())
    anomalies = read_metrics(run / "anomalies.jsonl")
    assert [line["step"] for line in anomalies] == sorted(plan)
    assert all(line["positions"] for line in anomalies)


@pytest.mark.parametrize("place", poisoned.PLACES)
def test_a_step_whose_numbers_are_bad_changes_no_weight_and_no_moment(
    make_config: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    count: Count,
) -> None:
    monkeypatch.setattr(step_module, "accumulate", step_module.accumulate)  # put back at the end
    poisoned.poison({1: (0, place)}, rank=0)
    execute(make_config(loop__steps=3, save__every=1), tmp_path / "run")
    check(tmp_path / "run", {1: (0, place)})
    count("injections", 1)


@pytest.mark.slow
def test_a_rank_whose_numbers_are_bad_stops_the_step_of_every_rank(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    """Every place on either rank, a sound step between two bad ones."""
    both = [(rank, place) for place in poisoned.PLACES for rank in (0, 1)]
    plan = {2 * number + 1: each for number, each in enumerate(both)}
    steps = 2 * len(plan) + 1
    config = make_config(data__pairs_per_batch=2, loop__steps=steps, save__every=1, save__keep=99)
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(config))
    monkeypatch.setenv("POISON", json.dumps(plan))
    script = ROOT / "tests" / "run" / "poisoned.py"
    two = ["torch.distributed.run", "--nproc_per_node=2"]
    launch(two, path, tmp_path / "run", script=script)
    assert json.loads((tmp_path / "run" / "env.json").read_text())["processes"] == 2
    check(tmp_path / "run", plan)
    count("injections", len(plan))
