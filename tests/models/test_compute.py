"""Layout and compiled blocks: the same numbers, and a way back where there is no compiler."""

import shutil
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft import LoraConfig
from torch._dynamo.utils import counters

from diffpref.models.checkpointing import set_checkpointing
from diffpref.models.compute import BLOCKS, set_channels_last, set_compiled
from diffpref.models.lora import adapters_off
from tests.models.test_live import tiny

CPU = torch.device("cpu")


def results(unet: UNet2DConditionModel) -> list[torch.Tensor]:
    """Return a prediction without gradient, one with, and the gradient of every weight."""
    rng = torch.Generator().manual_seed(0)
    inputs = {
        "sample": torch.randn(2, 4, 8, 8, generator=rng),
        "timestep": torch.tensor([3, 500]),
        "encoder_hidden_states": torch.randn(2, 7, 32, generator=rng),
        "return_dict": False,
    }
    unet.train().zero_grad()
    with torch.no_grad():
        quiet = unet(**inputs)[0]
    out = unet(**inputs)[0]
    torch.autograd.backward(out.square().mean())
    grads = [weight.grad for weight in unet.parameters() if weight.grad is not None]
    return [quiet, out.detach(), *grads]


def assert_close(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs) > 100
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_channels_last_gives_the_same_prediction_and_gradients() -> None:
    unet = tiny()
    plain = results(unet)
    set_channels_last(unet, True)
    weight = unet.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert_close(results(unet), plain)
    set_channels_last(unet, False)
    assert weight.is_contiguous()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("keep", [False, True])
def test_compiled_blocks_give_the_same_prediction_and_gradients(keep: bool) -> None:
    unet = tiny()
    plain = results(unet)
    set_checkpointing(unet, keep)
    names = set(unet.state_dict())
    assert set_compiled(unet, CPU)
    assert set(unet.state_dict()) == names
    assert_close(results(unet), plain)
    kinds = {
        type(module).__name__ for module in unet.modules() if module._compiled_call_impl is not None
    }
    assert kinds == set(BLOCKS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_blocks_are_captured_and_differentiated_without_a_compiler() -> None:
    unet = tiny()
    plain = results(unet)
    assert set_compiled(unet, CPU, backend="aot_eager")
    assert_close(results(unet), plain)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_switching_a_lora_off_compiles_once_and_gives_the_bases_numbers_bit_for_bit() -> None:
    """Of all graphs the switch has only its own transformer blocks', and only one set of them."""
    plain = tiny().requires_grad_(False)
    inputs: dict[str, Any] = {
        "sample": torch.randn(2, 4, 8, 8),
        "timestep": torch.tensor([3, 500]),
        "encoder_hidden_states": torch.randn(2, 7, 32),
        "return_dict": False,
    }
    with torch.no_grad():
        base = plain(**inputs)[0]
    unet = plain.train()
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    assert set_compiled(unet, CPU, backend="eager")
    torch.compiler.reset()
    counters.clear()
    graphs: list[int] = []

    def count() -> None:
        graphs.append(counters["stats"]["unique_graphs"])

    for _ in range(3):
        with torch.no_grad(), adapters_off(unet):
            assert torch.equal(unet(**inputs)[0], base)
        count()
        torch.autograd.backward(unet(**inputs)[0].sum())
        count()
        with torch.no_grad():
            assert not torch.equal(unet(**inputs)[0], base)
        count()
    off, with_gradient, on = graphs[:3]
    kinds = len([module for module in unet.modules() if type(module).__name__ == BLOCKS[0]])
    assert off > 0
    assert with_gradient > off
    assert 0 < on - with_gradient <= kinds, "only the blocks with a LoRA, not the resnets"
    assert set(graphs[3:]) == {on}, "nothing is compiled after the first step"


def test_without_a_compiler_blocks_run_as_they_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "which", {}.get)
    unet = tiny()
    assert not set_compiled(unet, CPU)
    assert all(module._compiled_call_impl is None for module in unet.modules())
    assert "no C++ compiler" in caplog.text
    assert not set_compiled(unet, torch.device("mps"))
