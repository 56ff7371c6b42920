"""`diffpref train` as a user meets it: dry run, smoke, continuing, and what goes wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from diffpref.cli import main
from diffpref.config import RunConfig, dump_config
from diffpref.train.store import Store

Make = Callable[..., RunConfig]


@pytest.fixture
def config(make_config: Make, tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(dump_config(make_config(loop__steps=3, save__every=1)))
    return path


def test_a_dry_run_counts_everything_and_writes_nothing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert main(["train", str(config), "--dry-run", "--json", "loop.micro_batches=3"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["kept"] == 10
    assert plan["prompts"] == 7
    assert plan["prompts_per_step"] == 6
    assert plan["images_per_pass"] == 4
    assert plan["epochs"] == pytest.approx(1.8)
    assert plan["first_loss"] == pytest.approx(0.693147, abs=1e-6)
    assert "kappa 1000" in plan["strength"]
    memory = plan["memory"]
    assert memory["total"] == sum(value for key, value in memory.items() if key != "total")
    assert memory["activations"] > 0
    assert memory["optimizer"] == 8 * plan["trainable"]
    assert sorted(tmp_path.rglob("*")) == before
    assert main(["train", str(config), "--dry-run"]) == 0
    assert "prompts per step" in capsys.readouterr().out


def test_more_images_per_pass_are_counted_as_more_activations(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for rows in (1, 4):
        assert (
            main(["train", str(config), "--dry-run", "--json", f"loop.rows_per_pass={rows}"]) == 0
        )
        found.append(json.loads(capsys.readouterr().out)["memory"]["activations"])
    assert found[1] == pytest.approx(4 * found[0], rel=0.05)


def test_train_writes_a_run_folder_and_a_run_folder_is_continued(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", str(config), "loop.steps=2", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(out)
    assert "expected first loss: 0.6931" in captured.err
    assert (out / "pytorch_lora_weights.safetensors").is_file()
    assert main(["train", str(out), "loop.steps=4"]) == 0
    newest = Store(out / "checkpoints").latest()
    assert newest is not None
    assert newest.step == 4
    assert "resumed from step-00000002" in capsys.readouterr().err


def test_a_second_run_into_the_same_folder_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", str(config), "loop.steps=1", "--out", str(out)]) == 0
    assert main(["train", str(config), "loop.steps=1", "--out", str(out)]) == 2
    assert "--resume auto" in capsys.readouterr().err


def test_smoke_goes_through_everything_once(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "smoke"
    assert main(["train", str(config), "--smoke", "--out", str(out)]) == 0
    newest = Store(out / "checkpoints").latest()
    assert newest is not None
    assert newest.step == 4


def test_smoke_of_an_online_run_samples_little(online: Make, tmp_path: Path) -> None:
    path, out = tmp_path / "online.yaml", tmp_path / "smoke"
    path.write_text(dump_config(online(rollout__prompts_per_round=500, rollout__per_step=500)))
    assert main(["train", str(path), "--smoke", "--out", str(out)]) == 0
    newest = Store(out / "checkpoints").latest()
    assert newest is not None
    assert newest.step == 4


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nosuch"], 3, "neither a file nor a preset"),
        (["{config}", "loop.stepz=2"], 3, "did you mean 'steps'"),
        (["{config}", "model.base=nowhere/at-all"], None, "model.base"),
        (["{config}", "data.source=nowhere"], 4, "no such file or folder"),
        (["{config}", "steps"], 2, "KEY=VALUE"),
        (["{config}", "data.resolution=60"], 3, "64"),
    ],
)
def test_what_a_user_gets_wrong_is_told_without_a_traceback(
    config: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int | None,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [each.format(config=config) for each in arguments]
    found = main(["train", *given, "--out", str(tmp_path / "run")])
    told = capsys.readouterr().err
    assert found == code if code is not None else found not in (0, 1)
    assert says in told
    assert "Traceback" not in told
    assert not (tmp_path / "run" / "checkpoints" / "step-00000001").exists()
