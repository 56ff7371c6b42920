"""What saves memory or time changes where numbers are, not what is learnt."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.config import RunConfig
from diffpref.errors import CheckpointError, ConfigError
from diffpref.evaluate.opened import Place
from diffpref.evaluate.runs import open_run
from diffpref.models import load_bundle
from diffpref.models.eight_bit import in_8_bits
from diffpref.run.choose import settled
from diffpref.run.execute import execute
from diffpref.run.fit import OVERHEAD, USABLE, fits
from tests.run.learned import distance, trained
from tests.run.test_resume import Killed, assert_same, kill_at

Make = Callable[..., RunConfig]


def full(**changes: Any) -> dict[str, Any]:
    """Return changes to a run of all weights; a maker may write into what it is given."""
    return {
        "adapter": {"kind": "full"},
        "reference": {"kind": "frozen"},
        "optimizer": {"lr": 1e-3},
        "loop": {"steps": 3, "micro_batches": 2},
        **changes,
    }


@pytest.mark.parametrize("kind", ["frozen", "moving"])
def test_a_reference_in_main_memory_is_the_resident_one_bit_for_bit(
    make_config: Make, tmp_path: Path, kind: str
) -> None:
    for name, offload in (("here", False), ("away", True)):
        reference = {"kind": kind, "offload": offload, "refresh_every": 2}
        execute(make_config(**full(reference=reference)), tmp_path / name)
    assert distance(tmp_path / "here", tmp_path / "away") == 0.0


def test_updates_in_the_backward_pass_are_the_ordinary_ones_without_clipping(
    make_config: Make, tmp_path: Path
) -> None:
    loop = {"steps": 3, "max_grad_norm": None}
    for name, inside in (("plain", False), ("inside", True)):
        optimizer = {"lr": 1e-3, "in_backward": inside}
        execute(make_config(**full(loop=dict(loop), optimizer=optimizer)), tmp_path / name)
    assert distance(tmp_path / "plain", tmp_path / "inside") == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter__precision": "stochastic"},
        {"adapter__precision": "split", "optimizer__name": "adafactor_flat"},
        {
            "adapter__precision": "kahan",
            "optimizer__in_backward": True,
            "loop": {"steps": 4, "max_grad_norm": None, "micro_batches": 1},
        },
    ],
)
def test_16_bit_weights_survive_resuming(
    make_config: Make, tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = make_config(
        model__dtype="bf16", save={"every": 1, "keep": 10}, **full(loop__steps=4, **changes)
    )
    execute(config, tmp_path / "whole")
    with pytest.raises(Killed):
        execute(config, tmp_path / "cut", watch=kill_at(2))
    execute(config, tmp_path / "cut", resume="auto")
    assert_same(tmp_path / "whole", tmp_path / "cut")
    assert {value.dtype for value in trained(tmp_path / "cut").values()} == {torch.bfloat16}


def test_a_layout_with_channels_last_learns_the_same(make_config: Make, tmp_path: Path) -> None:
    for name, last in (("usual", False), ("last", True)):
        config = make_config(**full(), model__dtype="fp64", model__channels_last=last)
        execute(config, tmp_path / name)
    assert distance(tmp_path / "usual", tmp_path / "last") < 1e-9
    unet = load_bundle(str(tmp_path / "last" / "pipeline")).unet
    assert unet.conv_in.weight.is_contiguous()


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_a_lora_on_8_bits_trains_resumes_and_is_exported_on_the_base_as_loaded(
    make_config: Make, tmp_path: Path, kind: str
) -> None:
    plain, config = make_config(loop__steps=4), make_config(loop__steps=4, model__storage=kind)
    execute(plain, tmp_path / "plain")
    execute(config, tmp_path / "whole")
    with pytest.raises(Killed):
        execute(config, tmp_path / "cut", watch=kill_at(2))
    execute(config, tmp_path / "cut", resume="auto")
    assert_same(tmp_path / "whole", tmp_path / "cut")
    assert 0 < distance(tmp_path / "whole", tmp_path / "plain") < 0.05
    opened = open_run(tmp_path / "whole", Place(device="cpu"), 1.0)
    assert not in_8_bits(opened.bundle.unet)
    with pytest.raises(CheckpointError, match="storage"):
        execute(plain.model_copy(), tmp_path / "cut", resume="auto")


GATE = {"kind": "gate_off"}
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("adapter.precision", {"adapter__precision": "split"}),
    ("loop.micro_batches", {"optimizer__in_backward": True, "loop__micro_batches": 2}),
    ("loop.rows_per_pass", {"optimizer__in_backward": True, "loop__rows_per_pass": 2}),
    ("loop.max_grad_norm", {"optimizer__in_backward": True}),
    (
        "model.dtype",
        {
            "optimizer__in_backward": True,
            "loop__max_grad_norm": None,
            "model__dtype": "fp16",
        },
    ),
    ("model.storage", {"model__storage": "int8", **full()}),
    (
        "model.storage",
        {"model__storage": "fp8", "adapter": {"kind": "user"}, "users": {}, "reference": GATE},
    ),
    ("adapter.dora", {"model__storage": "int8", "adapter__dora": True}),
    ("data.buckets", {"model__cuda_graphs": True}),
    (
        "reference.offload",
        {
            "model__cuda_graphs": True,
            "data__buckets": False,
            "reference": {"kind": "frozen", "offload": True},
        },
    ),
    (
        "adapter.kind",
        {
            "model__cuda_graphs": True,
            "data__buckets": False,
            "adapter": {"kind": "user"},
            "users": {},
            "reference": GATE,
        },
    ),
    (
        "model.compile_blocks",
        {"model__cuda_graphs": True, "data__buckets": False, "model__compile_blocks": True},
    ),
    (
        "model.gradient_checkpointing",
        {"model__compile_blocks": True, "model__gradient_checkpointing": "keep_convs"},
    ),
]


@pytest.mark.parametrize(("field", "changes"), REFUSED)
def test_what_does_not_go_together_is_refused_by_name(
    make_config: Make, field: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(**changes)
    assert caught.value.where == field
    assert caught.value.hint


@pytest.mark.slow
def test_the_cheapest_checkpointing_that_fits_the_card_is_chosen(make_config: Make) -> None:
    from diffpref.evaluate.opened import Place
    from diffpref.evaluate.runs import adapt, base_of_run

    config = make_config(model__gradient_checkpointing="auto", data__resolution=256)
    bundle = base_of_run(config, Place(device="cpu"), attention="sdpa")
    adapt(bundle, config)

    def chosen(card: int | None) -> object:
        return settled(config, bundle, card=card).model.gradient_checkpointing

    assert chosen(None) is False, "a CPU computes nothing twice"
    sizes = [
        form.footprint.total
        for form in fits(config)
        if form.what.startswith("gradient_checkpointing")
    ]
    assert sizes == sorted(sizes, reverse=True)
    for size, keep in zip(sizes, (False, "keep_matmuls", "keep_convs", True), strict=True):
        assert chosen(int((size * 1.001 + OVERHEAD) / USABLE)) == keep
    assert chosen(1) is True
