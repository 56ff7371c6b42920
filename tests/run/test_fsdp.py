"""Processes that share the weights learn what one process learns, and leave an ordinary run.

Runs are started by `accelerate launch` with the configuration file a user is given.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import diffpref
from diffpref.config import RunConfig, dump_config
from diffpref.errors import ConfigError
from diffpref.evaluate.runs import adapt, base_of_run
from diffpref.run.execute import execute
from diffpref.run.fsdp import shard_policy
from diffpref.run.preflight import preflight
from diffpref.train.log import read_metrics
from diffpref.train.store import Store
from tests.models.conftest import write_sdxl
from tests.run.launched import ROOT, launch

Make = Callable[..., RunConfig]
FULL: dict[str, Any] = {
    "adapter": {"kind": "full"},
    "reference": {"kind": "frozen"},
    "optimizer": {"lr": 1e-4, "weight_decay": 0.1},
    "model__dtype": "fp64",
}


def launch_fsdp(
    config: RunConfig, out: Path, *more: str, processes: int = 2, settings: tuple[str, ...] = ()
) -> None:
    path = out.with_suffix(".yaml")
    path.write_text(dump_config(config))
    shipped = ROOT / "configs" / "accelerate" / "fsdp.yaml"
    launcher = ["accelerate.commands.launch", "--config_file", str(shipped), *settings]
    # port 0 is any free one
    launcher += ["--num_processes", str(processes), "--main_process_port", "0"]
    launch(launcher, path, out, *more)


def groups_of(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    newest = Store(folder / "checkpoints").latest()
    assert newest is not None
    return {group: newest.tensors(group) for group in newest.names}


def distance(one: Path, other: Path) -> float:
    """Return the largest difference between any two numbers of the newest checkpoints."""
    mine, theirs = groups_of(one), groups_of(other)
    assert mine.keys() == theirs.keys()
    worst = 0.0
    for group, tensors in mine.items():
        assert tensors.keys() == theirs[group].keys()
        for name, value in tensors.items():
            assert value.shape == theirs[group][name].shape
            apart = (value.double() - theirs[group][name].double()).abs().max()
            worst = max(worst, float(apart))
    return worst


def assert_same_metrics(one: Path, other: Path) -> None:
    mine, theirs = (read_metrics(folder / "metrics.jsonl") for folder in (one, other))
    assert len(mine) == len(theirs) > 0
    for line, twin in zip(mine, theirs, strict=True):
        assert line["loss"] == pytest.approx(twin["loss"], abs=1e-9)
        assert line["implicit_accuracy"] == twin["implicit_accuracy"]
        assert line["grad_norm"] == pytest.approx(twin["grad_norm"], rel=1e-6)


def test_processes_that_share_the_weights_learn_what_one_process_learns(
    make_config: Make, tmp_path: Path
) -> None:
    """Two passes per window, checkpointed activations, an average: all as one process does it."""
    from diffusers import StableDiffusionPipeline

    shared = {**FULL, "loop__steps": 2, "ema": {"decay": 0.5}}
    execute(make_config(data__pairs_per_batch=4, **shared), tmp_path / "one")
    two = make_config(loop__rows_per_pass=2, model__gradient_checkpointing=True, **shared)
    launch_fsdp(two, tmp_path / "two")
    assert distance(tmp_path / "one", tmp_path / "two") < 1e-10
    assert_same_metrics(tmp_path / "one", tmp_path / "two")
    average = groups_of(tmp_path / "two")["ema"]
    pipe = StableDiffusionPipeline.from_pretrained(
        tmp_path / "two" / "pipeline", dtype=torch.float64
    )
    assert all(torch.equal(value, average[n]) for n, value in pipe.unet.named_parameters())
    mine, theirs = (
        {
            file.relative_to(tmp_path / name): file.read_bytes()
            for file in (tmp_path / name / "pipeline").rglob("*.json")
        }
        for name in ("one", "two")
    )
    assert mine == theirs
    opened = diffpref.open_model(str(tmp_path / "two")).bundle.unet
    assert all(torch.equal(value, average[n]) for n, value in opened.named_parameters())


VARIANTS: dict[str, dict[str, Any]] = {
    "adafactor": {"optimizer": {"name": "adafactor", "lr": 1e-4, "weight_decay": 0.1}},
    # processes climb to different t, so they call the inverting network differently often
    "inverted by the policy": {"method": {"name": "inpo", "beta": 2000, "steps": 10}},
    "inverted by the reference": {
        "method": {"name": "inpo", "beta": 2000},
        "parts": {"trajectory": {"kind": "inversion", "network": "reference", "steps": 10}},
    },
    "a feature network": {"method": {"name": "ncp_dpo", "beta": 2000}},
    "coupled rows, learned scale": {"method": {"name": "beta_dpo", "beta": 2000}},
    "reference ema": {"reference": {"kind": "ema", "decay": 0.5}},
    "reference moving": {
        "reference": {"kind": "moving", "budget": 1e-9, "beyond": "restart", "probe": 4}
    },
    "no reference": {"method": {"name": "sft"}, "reference": {"kind": "none"}},
    "recalled points": {
        "method": {"name": "inpo", "beta": 2000},
        "parts": {"trajectory": {"kind": "inversion", "network": "reference", "steps": 10}},
        "data__draws_per_row": 2,
        "data__recall": True,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_part_of_a_run_works_on_shards(
    make_config: Make, tmp_path: Path, variant: str
) -> None:
    shared = {**FULL, **VARIANTS[variant], "loop__steps": 3}
    execute(make_config(data__pairs_per_batch=4, **shared), tmp_path / "one")
    launch_fsdp(make_config(loop__rows_per_pass=1, **shared), tmp_path / "two")
    assert distance(tmp_path / "one", tmp_path / "two") < 1e-10
    mine, theirs = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert [line["loss"] for line in mine] == pytest.approx([line["loss"] for line in theirs])


@pytest.mark.slow
def test_sdxl_in_half_precision_starts_at_log_two_and_keeps_wide_shares(
    make_config: Make, tmp_path: Path
) -> None:
    """Also where the launcher asks transformers to load on the first process only."""
    model = {"base": str(write_sdxl(tmp_path / "sdxl")), "dtype": "bf16", "device": "cpu"}
    config = make_config(
        adapter=FULL["adapter"], reference=FULL["reference"], model=model, loop__steps=2
    )
    eager = ("--fsdp_cpu_ram_efficient_loading", "true", "--fsdp_sync_module_states", "true")
    launch_fsdp(config, tmp_path / "run", settings=eager)
    losses = [line["loss"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert losses[0] == pytest.approx(0.693147, abs=1e-5)
    assert losses[1] != losses[0]
    kept = groups_of(tmp_path / "run")
    kinds = {value.dtype for group in kept.values() for value in group.values()}
    assert kinds == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_a_run_on_shards_is_resumed_as_if_it_had_never_stopped(
    make_config: Make, tmp_path: Path, name: str
) -> None:
    config = make_config(
        **{**FULL, "optimizer": {"name": name, "lr": 1e-4}, "model__dtype": "fp32"},
        reference__kind="ema",
        ema={"decay": 0.9},
        loop__steps=4,
    )
    launch_fsdp(config, tmp_path / "whole")
    launch_fsdp(config, tmp_path / "cut", "loop.steps=2")
    launch_fsdp(config, tmp_path / "cut", "--resume", "auto")
    assert distance(tmp_path / "whole", tmp_path / "cut") == 0.0


ALLOWED = ("processes", "config.data.pairs_per_batch")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_a_checkpoint_moves_between_one_process_and_any_number_that_share(
    make_config: Make, tmp_path: Path, name: str
) -> None:
    """Of the three, some hold no part of a small weight."""
    shared = {**FULL, "optimizer": {"name": name, "lr": 1e-4}, "loop__steps": 4}
    shared["reference"] = {"kind": "moving"}
    one, three = (make_config(data__pairs_per_batch=n, **shared) for n in (6, 2))
    execute(one, tmp_path / "whole")

    there = tmp_path / "there"
    execute(make_config(data__pairs_per_batch=6, **{**shared, "loop__steps": 2}), there)
    allow = [word for field in ALLOWED for word in ("--allow-change", field)]
    launch_fsdp(three, there, "--resume", "auto", *allow, processes=3)
    assert distance(tmp_path / "whole", there) < 1e-10

    back = tmp_path / "back"
    launch_fsdp(three, back, "loop.steps=2", processes=3)
    execute(one, back, resume="auto", allow=ALLOWED)
    assert distance(tmp_path / "whole", back) < 1e-10


@pytest.mark.slow
def test_validation_samples_from_shards_and_the_best_checkpoint_is_exported(
    make_config: Make, tmp_path: Path
) -> None:
    from PIL import Image
    from safetensors.torch import load_file
    from torchvision.transforms.functional import pil_to_tensor

    shared = {
        **FULL,
        "loop__steps": 3,
        "ema": {"decay": 0.5},
        "save__every": 100,
        "save__best_by": "win_rate/world-oracle",
        "evaluate": {"every": 1, "n": 2, "scorers": ["world-oracle"], "steps": 2},
    }
    execute(make_config(data__pairs_per_batch=4, **shared), tmp_path / "one")
    launch_fsdp(make_config(**shared), tmp_path / "two")
    assert distance(tmp_path / "one", tmp_path / "two") < 1e-10
    mine, theirs = (sorted((tmp_path / name / "samples").glob("*.png")) for name in ("one", "two"))
    assert [path.name for path in mine] == [path.name for path in theirs]
    for path, twin in zip(mine, theirs, strict=True):
        pixels, others = (pil_to_tensor(Image.open(each)).int() for each in (path, twin))
        assert (pixels - others).abs().max() <= 1
    best = Store(tmp_path / "two" / "checkpoints").best()
    assert best is not None
    kept, unet = best.tensors("ema"), tmp_path / "two" / "pipeline" / "unet"
    saved = load_file(unet / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in kept.items())


REFUSED: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({"adapter": {"rank": 2}, "reference": {"kind": "adapters_off"}}, {}, "adapter.kind"),
    ({"optimizer": {"name": "adamw8bit"}}, {}, "optimizer.name"),
    ({"reference": {"kind": "ema", "offload": True}}, {}, "reference.offload"),
    (
        {"model__cuda_graphs": True, "data__buckets": False},
        {},
        "model.cuda_graphs",
    ),
    ({}, {"FSDP_VERSION": "1"}, "fsdp_version"),
    ({}, {"FSDP_RESHARD_AFTER_FORWARD": "false"}, "fsdp_reshard_after_forward"),
    ({}, {"FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params"),
    ({}, {"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "fsdp_activation_checkpointing"),
    ({}, {"FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP"}, "fsdp_auto_wrap_policy"),
]


@pytest.mark.parametrize(("changes", "variables", "where"), REFUSED)
def test_what_does_not_go_with_fsdp_is_refused_before_weights_load(
    make_config: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    variables: dict[str, str],
    where: str,
) -> None:
    def loading(*_: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("diffpref.run.execute.load_model", loading)
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        execute(make_config(**{**FULL, **changes}), tmp_path / "run")
    assert caught.value.where == where
    assert caught.value.hint is not None


def test_a_block_the_unet_does_not_have_is_named_with_those_it_has(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(**FULL)
    for name, value in {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_TRANSFORMER_CLS_TO_WRAP": "BasicTransformer",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="did you mean 'BasicTransformerBlock'"):
        shard_policy(config, base_of_run(config), processes=2)


def test_a_dry_run_counts_the_share_of_one_process(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(**FULL)
    bundle = base_of_run(config)
    adapt(bundle, config)
    alone = preflight(config, bundle, processes=4).memory
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    shared = preflight(config, bundle, processes=4).memory
    unet = sum(8 * value.numel() for value in bundle.unet.parameters())
    assert alone.weights - shared.weights == 2 * unet * 3 // 4  # with the frozen copy
    assert (shared.gradients, shared.optimizer) == (alone.gradients // 4, alone.optimizer // 4)
    assert shared.activations == alone.activations
