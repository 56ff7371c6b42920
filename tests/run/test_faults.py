"""Numbers that are not finite: the step changes nothing, then one way back, then exit 7."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffpref.config import RunConfig
from diffpref.errors import DataError, DivergedError, OutOfMemoryError
from diffpref.run.execute import execute
from diffpref.run.watch import Watch
from diffpref.train import backward as backward_module
from diffpref.train import step as step_module
from diffpref.train.log import read_metrics
from diffpref.train.store import Store
from diffpref.types import Loss

Make = Callable[..., RunConfig]


def poison(monkeypatch: pytest.MonkeyPatch, bad: Callable[[int], bool]) -> list[int]:
    """Make the gradient of chosen steps NaN; returns the list of steps that were asked for."""
    real, seen = step_module.accumulate, []

    def accumulate(objective, nets, window, draws, **settings) -> Loss:
        loss = real(objective, nets, window, draws, **settings)
        seen.append(len(seen))
        if bad(seen[-1]):
            for parameter in nets.policy.net.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(float("nan"))
        return loss

    monkeypatch.setattr(step_module, "accumulate", accumulate)
    return seen


def test_a_step_with_a_nan_gradient_changes_nothing_and_is_logged(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, lambda step: step == 2)
    execute(make_config(loop__steps=4, save__every=1), tmp_path / "run")
    store = Store(tmp_path / "run" / "checkpoints")
    before, after, later = (
        store.open(tmp_path / "run" / "checkpoints" / f"step-{n:08d}").tensors("trainable")
        for n in (2, 3, 4)
    )
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(not torch.equal(later[name], after[name]) for name in later)
    (anomaly,) = read_metrics(tmp_path / "run" / "anomalies.jsonl")
    assert anomaly["step"] == 2
    assert anomaly["positions"] == [4, 5]


def test_three_bad_steps_restore_the_checkpoint_once_and_the_next_three_end_the_run(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, lambda step: step >= 3)
    with pytest.raises(DivergedError) as ended:
        execute(make_config(loop__steps=50, save__every=2), tmp_path / "run")
    assert ended.value.exit_code == 7
    found = read_metrics(tmp_path / "run" / "anomalies.jsonl")
    assert [line["restored"] for line in found if "restored" in line] == [4]
    assert sum("positions" in line for line in found) == 6
    assert Store(tmp_path / "run" / "checkpoints").latest() is not None


def test_without_a_checkpoint_to_go_back_to_the_run_ends_at_once(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, lambda _: True)
    with pytest.raises(DivergedError):
        execute(make_config(loop__steps=50, save__every=100), tmp_path / "run")


def test_too_little_memory_halves_the_rows_and_learns_the_same(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(model__dtype="fp64", data__pairs_per_batch=4, loop__steps=3)
    execute(config, tmp_path / "roomy")
    real = step_module.accumulate

    def accumulate(objective, nets, window, draws, **settings) -> Loss:
        loss = real(objective, nets, window, draws, **settings)
        if settings["rows_per_pass"] > 2:
            raise torch.OutOfMemoryError("pretended")
        return loss

    monkeypatch.setattr(step_module, "accumulate", accumulate)
    execute(config, tmp_path / "tight")
    stores = [Store(tmp_path / name / "checkpoints").latest() for name in ("roomy", "tight")]
    mine, theirs = (found.tensors("trainable") for found in stores if found is not None)
    assert all(torch.allclose(mine[name], theirs[name], rtol=0, atol=1e-10) for name in mine)
    assert stores[1] is not None
    assert stores[1].state["rows_per_pass"] == 2


Raiser = Callable[[int], None]


def _at_forward(monkeypatch: pytest.MonkeyPatch, too_much: Raiser) -> None:
    real = backward_module._measured

    def measured(objective, net, point, size) -> torch.Tensor:
        too_much(min(size, len(point)))
        return real(objective, net, point, size)

    monkeypatch.setattr(backward_module, "_measured", measured)


def _at_backward(monkeypatch: pytest.MonkeyPatch, too_much: Raiser) -> None:
    """After a pass has already left its gradient behind."""
    real = torch.autograd.backward

    def backward(tensors, grad) -> None:
        real(tensors, grad)
        too_much(len(tensors))

    monkeypatch.setattr(torch.autograd, "backward", backward)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("place", [_at_forward, _at_backward])
@pytest.mark.parametrize("fits", [pytest.param(1, marks=SLOW), 2, pytest.param(4, marks=SLOW)])
def test_memory_that_ends_in_a_pass_changes_no_gradient(
    make_config: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: Callable[[pytest.MonkeyPatch, Raiser], None],
    fits: int,
    count: Callable[[str, int], None],
) -> None:
    """Eight rows; the pretended memory holds `fits` of them."""
    config = make_config(model__dtype="fp64", data__pairs_per_batch=4, loop__steps=2)
    execute(config, tmp_path / "roomy")
    refused = []

    def too_much(rows: int) -> None:
        if rows > fits:
            refused.append(rows)
            raise torch.OutOfMemoryError("pretended")

    place(monkeypatch, too_much)
    execute(config, tmp_path / "tight")
    assert refused == [8, 4, 2, 1][: refused.index(refused[-1]) + 1]
    assert refused[-1] == 2 * fits
    newest = [Store(tmp_path / name / "checkpoints").latest() for name in ("roomy", "tight")]
    mine, theirs = (found.tensors("trainable") for found in newest if found is not None)
    assert all(torch.allclose(mine[name], theirs[name], rtol=0, atol=1e-10) for name in mine)
    assert newest[1] is not None
    assert newest[1].state["rows_per_pass"] == fits
    count("out-of-memory points with equal gradients", 1)


def test_memory_that_ends_in_the_optimizer_is_not_tried_again(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an update may be done then: doing it again would be another update."""
    calls = []

    def step(self, *_: object) -> None:
        calls.append(self)
        raise torch.OutOfMemoryError("pretended")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(OutOfMemoryError, match="optimizer") as ended:
        execute(make_config(), tmp_path / "run")
    assert ended.value.exit_code == 8
    assert len(calls) == 1


def test_too_little_memory_for_one_row_says_what_to_try(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accumulate(*_: object, **__: object) -> Loss:
        raise torch.OutOfMemoryError("pretended")

    monkeypatch.setattr(step_module, "accumulate", accumulate)
    with pytest.raises(OutOfMemoryError, match="gradient_checkpointing"):
        execute(make_config(), tmp_path / "run")


def test_a_tracker_that_cannot_start_does_not_stop_the_run(
    make_config: Make, tmp_path: Path
) -> None:
    said: list[str] = []
    config = make_config(loop__steps=1, log={"trackers": ["wandb"]})
    execute(config, tmp_path / "run", watch=Watch(say=said.append))
    assert any("wandb" in sentence or "trackers" in sentence for sentence in said)


def write_rows(folder: Path, pairs: Path, images: int, scores: list[float]) -> Path:
    """Write one row with some of the images of a folder of pairs."""
    names = sorted(path.name for path in (pairs / "images").iterdir())[:images]
    row = {"prompt": "a thing", "images": [f"images/{name}" for name in names], "scores": scores}
    shutil.copytree(pairs / "images", folder / "images")
    (folder / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def test_dpo_names_the_row_that_is_no_pair(make_config: Make, tmp_path: Path, pairs: Path) -> None:
    source = write_rows(tmp_path / "lists", pairs, 3, [3.0, 2.0, 1.0])
    with pytest.raises(DataError, match=r"metadata\.jsonl:1.*3 images"):
        execute(make_config(data__source=str(source)), tmp_path / "run")


def test_sft_learns_from_a_liked_image_and_refuses_a_disliked_one(
    make_config: Make, tmp_path: Path, pairs: Path
) -> None:
    liked = write_rows(tmp_path / "liked", pairs, 1, [1.0])
    sft = {"method": {"name": "sft"}, "reference": {"kind": "none"}, "loop__steps": 1}
    execute(make_config(data__source=str(liked), **sft), tmp_path / "run")
    (line,) = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert line["loss"] == pytest.approx(line["winner_error"], rel=1e-5)
    disliked = write_rows(tmp_path / "disliked", pairs, 1, [0.0])
    with pytest.raises(DataError, match="disliked"):
        execute(make_config(data__source=str(disliked), **sft), tmp_path / "other")
