"""Weights of 8 bits: how far they are off, that training sees them alone, and what is refused."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from diffpref.errors import ConfigError
from diffpref.models import AdapterConfig, Bundle, make_adapter, make_denoiser, set_checkpointing
from diffpref.models.checkpointing import Keep
from diffpref.models.eight_bit import (
    FORMATS,
    EightBit,
    in_8_bits,
    keep_in_8_bits,
    narrow,
    narrowed,
    widened,
)
from diffpref.models.pipeline import merged, save_pipeline
from tests.models.test_checkpointing import point

Fresh = Callable[[str], Bundle]


def weights(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(64, 512), (32, 16, 3, 3)])
def test_int8_is_off_by_half_a_step_of_its_channel_at_most(shape: tuple[int, ...]) -> None:
    weight = weights(*shape) * torch.logspace(-3, 1, shape[0]).view(-1, *[1] * (len(shape) - 1))
    numbers, scale = narrowed(weight, FORMATS["int8"])
    assert numbers.dtype == torch.int8
    off = (widened(numbers, scale) - weight).abs().flatten(1).amax(dim=1)
    step = weight.abs().flatten(1).amax(dim=1) / 127
    assert bool((off <= 0.5001 * step).all())
    assert bool((off > 0.4 * step).all()), "the whole step is used"


def test_fp8_is_off_by_a_sixteenth_of_each_weight_at_most() -> None:
    weight = weights(64, 512)
    numbers, scale = narrowed(weight, FORMATS["fp8"])
    assert numbers.dtype == torch.float8_e4m3fn
    off = (widened(numbers, scale) - weight).abs()
    smallest = scale * 2.0**-9  # e4m3's subnormal step is 2^-9
    assert bool((off <= torch.maximum(weight.abs() / 16, smallest / 2) * 1.0001).all())


def test_of_normal_weights_int8_keeps_more_than_fp8() -> None:
    weight = weights(256, 1280)
    off = {
        name: float((widened(*narrowed(weight, form)) - weight).std())
        for name, form in FORMATS.items()
    }
    assert off["int8"] < 0.01
    assert 0.02 < off["fp8"] < 0.03


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", FORMATS)
def test_zeros_and_tiny_channels_stay_finite(kind: str, dtype: torch.dtype) -> None:
    weight = torch.stack([torch.zeros(9), torch.full((9,), 1e-7), torch.ones(9)]).to(dtype)
    back = widened(*narrowed(weight, FORMATS[kind]))
    assert back.dtype == dtype
    assert bool(back.isfinite().all())
    assert bool((back[0] == 0).all())
    assert torch.equal(back[2], weight[2])


LAYERS: tuple[Callable[[], nn.Module], ...] = (
    lambda: nn.Linear(6, 5),
    lambda: nn.Linear(6, 5, bias=False),
    lambda: nn.Conv2d(6, 4, 3, stride=2, padding=1),
    lambda: nn.Conv2d(6, 4, 3, groups=2, dilation=2, padding=2),
)


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("kind", FORMATS)
def test_a_layer_and_its_gradient_are_those_of_the_widened_weight(
    make: Callable[[], nn.Module], kind: str
) -> None:
    torch.manual_seed(0)
    layer: Any = make().double().requires_grad_(False)
    wide = widened(*narrowed(layer.weight, FORMATS[kind]))
    conv = isinstance(layer, nn.Conv2d)
    block = nn.Module()
    block.add_module("down_blocks", nn.ModuleList([layer]))
    x = torch.randn(2, 6, 7, 7) if conv else torch.randn(2, 3, 6)
    x = x.double().requires_grad_()
    how = (layer.stride, layer.padding, layer.dilation, layer.groups) if conv else ()
    apply: Any = F.conv2d if conv else F.linear
    expected = apply(x, wide, layer.bias, *how)
    (slope,) = torch.autograd.grad(expected.square().sum(), x)
    assert keep_in_8_bits(block, kind) == 1
    found = layer(x)
    assert torch.equal(found, expected)
    (own,) = torch.autograd.grad(found.square().sum(), x)
    torch.testing.assert_close(own, slope, rtol=1e-12, atol=1e-12)


def adapted(fresh: Fresh, kind: str | None, dtype: torch.dtype = torch.float32) -> Bundle:
    from dataclasses import replace

    bundle = fresh("sd15")
    nn.Module.to(bundle.unet, dtype)
    if kind is not None:
        keep_in_8_bits(bundle.unet, kind)
    bundle = replace(bundle, dtype=dtype)
    make_adapter(bundle, AdapterConfig(rank=2, targets=("to_q", "to_v", "conv1")))
    for value in bundle.unet.parameters():
        if value.requires_grad:
            value.data.add_(0.01 * torch.randn_like(value))
    return bundle


def gradients(bundle: Bundle) -> list[Tensor]:
    bundle.unet.zero_grad()
    x_t, t, cond = point(bundle)
    out = make_denoiser(bundle.unet, bundle)(x_t, t, cond).float()
    torch.autograd.backward(out.square().mean())
    found = [value.grad for value in bundle.unet.parameters() if value.requires_grad]
    assert all(each is not None for each in found)
    return [each.clone() for each in found if each is not None]


@pytest.mark.parametrize("make", LAYERS)
def test_only_bytes_and_scales_wait_for_the_backward_pass(make: Callable[[], nn.Module]) -> None:
    layer: Any = make().bfloat16().requires_grad_(False)
    block = nn.Module()
    block.add_module("mid_block", nn.ModuleList([layer]))
    keep_in_8_bits(block, "fp8")
    x = torch.randn(2, 6, 7, 7) if layer.weight.dim() == 4 else torch.randn(2, 6)
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x.bfloat16().requires_grad_())
    assert {each.data_ptr() for each in kept} == {layer.weight.data_ptr(), layer.scale.data_ptr()}


def test_every_adapted_layer_learns_on_8_bits(fresh: Fresh) -> None:
    bundle = adapted(fresh, "int8", torch.bfloat16)
    assert sum(narrow(module) for module in bundle.unet.modules()) > 20
    grads = gradients(bundle)
    assert all(bool(each.isfinite().all()) and float(each.abs().max()) > 0 for each in grads)


@pytest.mark.parametrize("keep", ["keep_matmuls", "keep_convs", True])
def test_checkpointing_gives_the_same_gradients_on_8_bits(fresh: Fresh, keep: Keep) -> None:
    bundle = adapted(fresh, "int8", torch.float64)
    plain = gradients(bundle)
    set_checkpointing(bundle.unet, keep)
    for a, b in zip(gradients(bundle), plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)


def test_half_the_bytes_are_left_of_a_bf16_base(fresh: Fresh) -> None:
    def size(kind: str | None) -> int:
        unet = adapted(fresh, kind, torch.bfloat16).unet
        blocks = [p for n, p in unet.named_parameters() if "_block" in n and not p.requires_grad]
        return sum(value.numel() * value.element_size() for value in blocks)

    assert 0.5 < size("int8") / size(None) < 0.6


def test_a_copy_and_a_cast_keep_the_bytes(fresh: Fresh) -> None:
    unet = deepcopy(adapted(fresh, "fp8").unet)
    before = {n: p.clone() for n, p in unet.named_parameters() if p.dtype == torch.int8}
    nn.Module.to(unet, torch.float64)
    after = dict(unet.named_parameters())
    assert before
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_what_trains_is_not_of_8_bits(fresh: Fresh) -> None:
    bundle = adapted(fresh, "int8")
    trained = {value.dtype for value in bundle.unet.parameters() if value.requires_grad}
    assert trained == {torch.float32}
    assert bundle.unet.conv_in.weight.dtype != torch.int8
    assert not isinstance(bundle.unet.conv_out, EightBit)
    assert not make_denoiser(bundle.unet, bundle).autocast


def test_folding_in_and_writing_down_are_refused(fresh: Fresh, tmp_path: Any) -> None:
    bundle = adapted(fresh, "int8")
    assert in_8_bits(bundle.unet)
    for act in (lambda: merged(bundle.sd_unet), lambda: save_pipeline(tmp_path / "out", bundle)):
        with pytest.raises(ConfigError) as caught:
            act()
        assert caught.value.where == "model.storage"
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_refused_by_name(fresh: Fresh) -> None:
    with pytest.raises(ConfigError, match="did you mean 'int8'"):
        keep_in_8_bits(fresh("sd15").unet, "int4")
