"""Methods that need more than pairs and a frozen network, run as a user runs them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.config import RunConfig
from diffpref.errors import ConfigError, DataError
from diffpref.references import SPENT
from diffpref.run.execute import execute
from diffpref.train.log import read_metrics
from diffpref.train.store import Store
from tests.run.test_resume import Killed, final, kill_at, lines

Make = Callable[..., RunConfig]

FREE = {"kind": "none"}
RUNS: dict[str, dict[str, Any]] = {
    "inpo": {"method": {"name": "inpo", "steps": 3, "guidance": 2.0}},
    "smpo": {"method": {"name": "smpo", "steps": 2, "grid": "legacy"}},
    "ncp_dpo": {"method": {"name": "ncp_dpo", "layer": "mid"}},
    "ncp_cpo": {"method": "ncp_cpo", "reference": FREE},
    "rank_dpo": {"method": "rank_dpo"},
    "diffusion_kto": {"method": "diffusion_kto", "data__unpaired": True},
    "mapo": {"method": "mapo", "reference": FREE},
    "linear_dpo": {"method": "linear_dpo", "reference": {"kind": "ema", "decay": 0.9}},
    "dspo": {"method": {"name": "dspo", "branch": "switch"}},
    "sdpo": {"method": "sdpo", "loop__rows_per_pass": 1},
    "composed": {
        "method": {"name": "inpo", "steps": 2},
        "parts": {
            "loss": "exo",
            "guard": {"kind": "winner", "mu": 0.5},
            "timesteps": {"kind": "tilted"},
            "emphasis": "high_noise",
            "offset": {"kind": "score_gap", "scale": 0.1},
            "anchor": {"kind": "winner", "weight": 0.1},
            "likelihood": {"kind": "perceptual", "normalise": True},
        },
    },
}


@pytest.mark.parametrize("name", RUNS)
def test_it_trains(name: str, make_config: Make, tmp_path: Path) -> None:
    config = make_config(loop__steps=2, **RUNS[name])
    folder = execute(config, tmp_path / "run")
    metrics = read_metrics(folder / "metrics.jsonl")
    assert [line["step"] for line in metrics] == [1, 2]
    assert all(isinstance(line["loss"], float) for line in metrics)
    trained = final(folder)
    assert any(bool(v.abs().max() > 0) for k, v in trained.items() if "lora_B" in k)
    if name == "diffusion_kto":
        # A window may hold no disliked image: its numbers are then null, never absent.
        assert all("winner_error" in line and "loser_drift" in line for line in metrics)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "beta_dpo"},
        {
            "method": "rethinking_dpo",
            "reference": {"kind": "moving", "refresh_every": 2, "budget": 1e-9, "probe": 4},
        },
        {
            "method": "diffusion_dpo",
            "reference": {
                "kind": "moving",
                "refresh_every": 2,
                "budget": 1e-9,
                "probe": 4,
                "beyond": "restart",
                "offload": True,
            },
        },
    ],
    ids=["beta_dpo", "frozen beyond its budget", "restarted"],
)
def test_what_learns_beside_the_policy_is_resumed_bit_for_bit(
    changes: dict[str, Any], make_config: Make, tmp_path: Path
) -> None:
    config = make_config(save__every=1, **changes)
    whole = execute(config, tmp_path / "whole")
    with pytest.raises(Killed):
        execute(config, tmp_path / "cut", watch=kill_at(3))
    execute(config, tmp_path / "cut", resume="auto")
    ours, theirs = final(tmp_path / "cut"), final(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert lines(tmp_path / "cut")[-1] == lines(whole)[-1]


def test_a_reference_follows_within_its_budget_and_stays_beyond_it(
    make_config: Make, tmp_path: Path
) -> None:
    def reference(budget: float) -> dict[str, torch.Tensor]:
        config = make_config(
            reference={"kind": "moving", "refresh_every": 2, "budget": budget, "probe": 5}
        )
        folder = tmp_path / f"budget-{budget:g}"
        execute(config, folder)
        newest = Store(folder / "checkpoints").latest()
        assert newest is not None
        return newest.tensors("reference") | {
            f"policy/{k}": v for k, v in newest.tensors("trainable").items()
        }

    wide, narrow = reference(1e9), reference(1e-12)
    names = [name for name in wide if not name.startswith("policy/") and name != SPENT]
    assert all(torch.equal(wide[name], wide[f"policy/{name}"]) for name in names)
    moved = [name for name in names if "lora_B" in name]
    assert float(wide[SPENT]) == 0
    assert float(narrow[SPENT]) == 1
    # The first candidate may lie below the start's error, which no budget forbids.
    still = [bool(torch.equal(narrow[name], narrow[f"policy/{name}"])) for name in moved]
    assert not all(still)


def test_the_run_log_says_how_far_the_reference_may_go(make_config: Make, tmp_path: Path) -> None:
    reference = {"kind": "moving", "refresh_every": 2, "budget": 5.0, "probe": 3}
    folder = execute(make_config(loop__steps=4, reference=reference), tmp_path / "run")
    metrics = read_metrics(folder / "metrics.jsonl")
    assert metrics[0]["reference_divergence"] == 0.0
    assert metrics[-1]["reference_divergence"] != 0.0
    assert metrics[-1]["reference_frozen"] == 0.0


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"method": "mapo"}, "reference.kind"),
        ({"data__unpaired": True}, "data.unpaired"),
        ({"reference": {"kind": "frozen", "budget": 0.1}}, "reference.budget"),
        ({"method": "rank_dpo", "parts": {"loss": "hinge"}}, "parts.loss"),
        ({"method": "sft", "parts": {"emphasis": "high_noise"}}, "parts.emphasis"),
        ({"method": "rank_dpo", "parts": {"offset": "score_gap"}}, "parts.offset"),
        ({"method": "rank_dpo", "parts": {"guard": "winner"}}, "parts.guard"),
        (
            {"method": "mapo", "reference": FREE, "parts": {"loss": "score_matching"}},
            "parts.loss",
        ),
        ({"parts": {"timesteps": {"kind": "tilted", "gamma": 2}}}, "parts.timesteps"),
        ({"parts": {"guard": {"kind": "winner", "mu": 3}}}, "parts.guard"),
        (
            {"method": "diffusion_kto", "data__unpaired": True, "data__absolute_winners": True},
            "data.absolute_winners",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    changes: dict[str, Any], where: str, make_config: Make
) -> None:
    with pytest.raises(ConfigError) as refused:
        make_config(**changes)
    assert where in str(refused.value)


def test_kto_asks_for_single_images(make_config: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpaired: true"):
        execute(make_config(method="diffusion_kto"), tmp_path / "run")
