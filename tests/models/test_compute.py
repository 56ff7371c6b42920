"""Layout and compiled blocks: the same numbers, and a way back where there is no compiler."""

import shutil

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from diffpref.models.checkpointing import set_checkpointing
from diffpref.models.compute import BLOCKS, set_channels_last, set_compiled
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


def test_without_a_compiler_blocks_run_as_they_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "which", {}.get)
    unet = tiny()
    assert not set_compiled(unet, CPU)
    assert all(module._compiled_call_impl is None for module in unet.modules())
    assert "no C++ compiler" in caplog.text
    assert not set_compiled(unet, torch.device("mps"))
