"""Weights of 16 bits stay the same, bit for bit, in every process."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffpref.config import RunConfig, dump_config
from diffpref.run.execute import execute
from diffpref.train.store import Store
from tests.run.every_rank import END
from tests.run.launched import ROOT, launch

BESIDE = {"stochastic": "rounds", "kahan": "compensation", "split": "remainder"}


def narrow(make_config: Callable[..., RunConfig], precision: str, pairs: int) -> RunConfig:
    return make_config(
        model__dtype="bf16",
        adapter={"kind": "full", "precision": precision},
        reference={"kind": "frozen"},
        data__pairs_per_batch=pairs,
        optimizer__lr=1e-4,
        loop__steps=3,
        loop__micro_batches=2,
    )


@pytest.mark.slow
@pytest.mark.parametrize("precision", BESIDE)
def test_two_processes_round_the_same_way(
    precision: str, make_config: Callable[..., RunConfig], base: Path, tmp_path: Path
) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(dump_config(narrow(make_config, precision, 1)))
    script = ROOT / "tests" / "run" / "every_rank.py"
    launcher = ["torch.distributed.run", "--nproc_per_node=2"]
    launch(launcher, path, tmp_path / "two", script=script)
    first, second = (load_file(tmp_path / "two" / END.format(rank)) for rank in range(2))
    assert first.keys() == second.keys()
    assert any(name.endswith(BESIDE[precision]) for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)
    learned = {name: value for name, value in first.items() if name.startswith("weight/")}
    assert all(value.dtype == torch.bfloat16 for value in learned.values())

    execute(narrow(make_config, precision, 2), tmp_path / "one")
    found = Store(tmp_path / "one" / "checkpoints").latest()
    assert found is not None
    single = {f"weight/{name}": value for name, value in found.tensors("trainable").items()}
    start = {f"weight/{name}": value.bfloat16() for name, value in untrained(base).items()}
    moved, apart = distance(learned, start), distance(learned, single)
    assert moved > 0
    assert apart < 0.5 * moved  # gradients summed in 16 bits and in 32: Adam's signs differ


def untrained(base: Path) -> dict[str, torch.Tensor]:
    (path,) = (base / "unet").glob("*.safetensors")
    return load_file(path)


def distance(some: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]) -> float:
    assert some.keys() == others.keys()
    squares = [(value - others[name]).float().square().sum() for name, value in some.items()]
    return float(torch.stack(squares).sum().sqrt())
