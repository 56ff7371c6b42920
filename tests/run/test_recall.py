"""A run on kept points is the live run, and costs the policy's passes only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.cli import main
from diffpref.config import RunConfig, dump_config
from diffpref.errors import ConfigError
from diffpref.run.execute import execute, precompute
from diffpref.run.watch import Watch
from tests.run.test_resume import Killed, final

Make = Callable[..., RunConfig]

INPO = {"name": "inpo", "steps": 3, "network": "reference", "beta": 2000}
RUNS: dict[str, dict[str, Any]] = {
    "dpo": {},
    "inpo": {"method": INPO},
    "sdpo": {"method": "sdpo"},
    "ncp": {"method": "ncp_dpo"},
    "rows one by one": {"method": INPO, "loop__rows_per_pass": 1},
}


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for name, value in final(folder).items() if name.startswith("trainable/")}


def _assert_equal(ours: Path, theirs: Path, tolerance: float = 0.0) -> None:
    left, right = _weights(ours), _weights(theirs)
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.allclose(value, right[name], rtol=tolerance, atol=tolerance), name


@pytest.mark.parametrize("name", RUNS)
def test_it_equals_the_live_run_bit_for_bit_while_batches_are_the_same(
    name: str, make_config: Make, tmp_path: Path
) -> None:
    changes = {"data__draws_per_row": 2, "loop__steps": 6, **RUNS[name]}
    live = execute(make_config(**changes), tmp_path / "live")
    kept = execute(make_config(data__recall=True, **changes), tmp_path / "kept")
    _assert_equal(kept, live)


def test_it_equals_the_live_run_in_later_epochs_too(make_config: Make, tmp_path: Path) -> None:
    """Ten rows, three a window, one draw per row: epochs straddle windows in ever other ways."""
    changes: dict[str, Any] = {
        "model__dtype": "fp64",
        "method": INPO,
        "data__draws_per_row": 1,
        "data__pairs_per_batch": 3,
        "loop__steps": 12,
    }
    live = execute(make_config(**changes), tmp_path / "live")
    kept = execute(make_config(data__recall=True, **changes), tmp_path / "kept")
    _assert_equal(kept, live, tolerance=1e-10)


def test_only_the_policy_runs(make_config: Make, tmp_path: Path) -> None:
    """After the points are kept, a step is one forward of every row, with gradient."""
    seen: list[tuple[int, bool]] = []

    def assembled(run: Any) -> None:
        def note(_module: Any, args: tuple[Any, ...]) -> None:
            seen.append((len(args[0]), torch.is_grad_enabled()))

        run.bundle.unet.register_forward_pre_hook(note)

    config = make_config(method=INPO, data__draws_per_row=1, data__recall=True, loop__steps=5)
    execute(config, tmp_path / "run", watch=Watch(assembled=assembled))
    assert seen == [(4, True)] * 5


def test_an_interrupted_filling_goes_on(make_config: Make, tmp_path: Path) -> None:
    changes = {"method": INPO, "data__draws_per_row": 3}
    config = make_config(data__recall=True, **changes)
    told: list[tuple[int, int | None]] = []

    def stop(done: int, total: int | None) -> None:
        told.append((done, total))
        if done >= 15:
            raise Killed

    from diffpref.run import remember

    before, remember.PER_SHARD = remember.PER_SHARD, 4
    try:
        with pytest.raises(Killed):
            precompute(config, Watch(remembering=stop))
        kept = {path.name for path in Path(config.data.cache).glob("points/*/*.safetensors")}
        assert kept
        precompute(config)
    finally:
        remember.PER_SHARD = before
    after = {path.name for path in Path(config.data.cache).glob("points/*/*.safetensors")}
    assert kept < after
    assert told[-1][1] == 30
    live = execute(make_config(**changes), tmp_path / "live")
    _assert_equal(execute(config, tmp_path / "kept"), live)


def test_a_damaged_shard_is_computed_again(make_config: Make, tmp_path: Path) -> None:
    changes = {"data__draws_per_row": 1}
    config = make_config(data__recall=True, **changes)
    folder = precompute(config)
    (shard,) = folder.glob("points/*/*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-8])
    assert main(["data", "verify", str(folder)]) == 4
    live = execute(make_config(**changes), tmp_path / "live")
    _assert_equal(execute(config, tmp_path / "kept"), live)


def test_other_settings_are_other_points(make_config: Make) -> None:
    folder = Path("missing")
    for changes in ({}, {"seed": 1}, {"data__draws_per_row": 2}, {"data__caption_drop": 0.0}):
        folder = precompute(make_config(**{"data__draws_per_row": 1, **changes}, data__recall=True))
    assert len(list(folder.glob("points/*"))) == 4


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({}, "data.recall"),
        (
            {"data__draws_per_row": 1, "reference": {"kind": "ema"}},
            "reference.kind",
        ),
        ({"data__draws_per_row": 1, "method": "inpo"}, "network: reference"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(
    changes: dict[str, Any], where: str, make_config: Make
) -> None:
    with pytest.raises(ConfigError) as refused:
        precompute(make_config(data__recall=True, **changes))
    assert where in str(refused.value)


def test_the_verb(make_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(make_config(method=INPO)))
    asked = ["data", "cache", "--inversion", str(path), "--set", "data.draws_per_row=1", "--json"]
    assert main(asked) == 0
    assert '"draws_per_row": 1' in capsys.readouterr().out
