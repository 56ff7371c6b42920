"""Activations that are computed anew: the same gradients, and only what was said is repeated."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffpref.models import (
    AdapterConfig,
    Bundle,
    load_bundle,
    make_adapter,
    make_denoiser,
    set_checkpointing,
    trainable_parameters,
)
from diffpref.models.checkpointing import ATTENTION, CONVS, MATMULS, Keep
from diffpref.types import Conditioning

KEEPS: tuple[Keep, ...] = (False, "keep_matmuls", "keep_convs", True)


def point(bundle: Bundle) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
    rng = torch.Generator().manual_seed(0)
    x_t = torch.randn(2, 4, 8, 8, generator=rng, dtype=torch.float64)
    cond = bundle.encode_text(["a red cube", ""])
    square = torch.full((2, 2), 32)
    ids = bundle.family.time_ids(square, torch.zeros_like(square), square)
    return x_t, torch.tensor([10, 700]), replace(cond, time_ids=ids)


class Calls(TorchDispatchMode):
    """Counts operations by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kinds = {"attention": ATTENTION, "conv": CONVS, "matmul": MATMULS}
        self.found.update(name for name, ops in kinds.items() if func in ops)
        self.found["norm"] += func is torch.ops.aten.native_group_norm.default
        return func(*args, **(kwargs or {}))


def forwards(bundle: Bundle, keep: Keep) -> tuple[Counter[str], dict[str, torch.Tensor]]:
    """Return the forward operations of a step, recomputed ones included, and its gradients."""
    set_checkpointing(bundle.unet, keep)
    bundle.unet.zero_grad()
    with Calls() as calls:
        loss = make_denoiser(bundle.unet, bundle)(*point(bundle)).square().mean()
        loss.backward()
    named = trainable_parameters(bundle.unet).items()
    return calls.found, {
        name: value.grad.clone() for name, value in named if value.grad is not None
    }


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_every_policy_gives_the_same_gradients(folder: Path, kind: str) -> None:
    bundle = load_bundle(str(folder), dtype="fp64")
    make_adapter(bundle, AdapterConfig(kind=kind, rank=2))
    _, plain = forwards(bundle, False)
    assert plain.keys() == trainable_parameters(bundle.unet).keys()
    for keep in KEEPS[1:]:
        _, found = forwards(bundle, keep)
        assert found.keys() == plain.keys()
        for name, value in plain.items():
            torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-15)


def test_each_policy_repeats_what_it_says(folder: Path) -> None:
    bundle = load_bundle(str(folder), dtype="fp64")
    make_adapter(bundle, AdapterConfig(kind="full"))
    nothing, matmuls, convs, everything = (forwards(bundle, keep)[0] for keep in KEEPS)
    assert matmuls["conv"] == convs["conv"] == nothing["conv"] < everything["conv"]
    assert matmuls["attention"] == convs["attention"] == nothing["attention"]
    assert nothing["attention"] < everything["attention"]
    # the backward pass makes matrix products too, so only the order is certain
    assert matmuls["matmul"] == nothing["matmul"] < convs["matmul"]
    assert nothing["norm"] < matmuls["norm"] <= everything["norm"]
