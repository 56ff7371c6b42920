r"""Frozen weights kept in 8 bits: one byte a number, and a scale for every output channel.

    W \approx s_o q,   s_o = max_i |W_{o i}| / largest(q)

What is computed is x W' with W' = s q in the model's precision, made anew in the forward and in
the backward pass: between them only the bytes wait. (torchao 0.18's weight-only tensors save the
matrix they made for the backward pass, so that training on them holds both, and they leave
convolutions as they are; hence a module of our own.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from diffpref.errors import ConfigError, nearest

BLOCKS = ("down_blocks.", "mid_block.", "up_blocks.")
"""Paths of what is kept in 8 bits: nearly all weights. The first and last convolution and what
reads t stay as they are."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A number of 8 bits and the largest that is used of it."""

    dtype: torch.dtype
    largest: float


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "int8": Format(dtype=torch.int8, largest=127.0),
        "fp8": Format(dtype=torch.float8_e4m3fn, largest=448.0),
    }
)
"""int8 has steps of one size, of 1/127 of a channel's largest weight; fp8 (e4m3) keeps 4 bits of
every weight. Of normal weights int8 errs by about a third of what fp8 does."""


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return F.linear(x, widened(weight, scale), bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        return torch.matmul(grad_outputs[0], widened(weight, scale)), None, None, None


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, *rest: Any) -> Tensor:
        bias, *how = rest
        ctx.save_for_backward(weight, scale)
        ctx.shape, ctx.how = x.shape, how
        return F.conv2d(x, widened(weight, scale), bias, *how)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        weight, scale = ctx.saved_tensors
        back = conv2d_input(ctx.shape, widened(weight, scale), grad_outputs[0], *ctx.how)
        return back, *[None] * 7


class EightBitLinear(nn.Linear):
    """A frozen linear layer whose weights are bytes; made by `keep_in_8_bits`.

    Attributes:
        scale: one number per output channel, in the precision the layer computes in.
        kept_as: the type the bytes of `weight` are read as. They are stored as int8 whichever it
            is, so that nothing that casts or moves weights mistakes them for numbers.
    """

    scale: nn.Parameter
    kept_as: torch.dtype

    def forward(self, input: Tensor) -> Tensor:
        if not narrow(self):
            return super().forward(input)
        x = input.to(self.scale.dtype)
        return cast(Any, _Linear.apply)(x, self.weight.view(self.kept_as), self.scale, self.bias)


class EightBitConv(nn.Conv2d):
    """A frozen convolution whose weights are bytes, as `EightBitLinear`."""

    scale: nn.Parameter
    kept_as: torch.dtype

    def forward(self, input: Tensor) -> Tensor:
        if not narrow(self):
            return super().forward(input)
        how = (self.bias, self.stride, self.padding, self.dilation, self.groups)
        x = input.to(self.scale.dtype)
        return cast(Any, _Conv.apply)(x, self.weight.view(self.kept_as), self.scale, *how)


def narrow(layer: nn.Module) -> bool:
    """Tell whether a layer's weights are bytes. peft makes a LoRA's layers of its base's class,
    and theirs are not."""
    return "scale" in layer._parameters and isinstance(layer, EightBit)


EightBit = EightBitLinear | EightBitConv
KINDS: Mapping[type[nn.Module], type[EightBit]] = MappingProxyType(
    {nn.Linear: EightBitLinear, nn.Conv2d: EightBitConv}
)


def keep_in_8_bits(unet: nn.Module, kind: str) -> int:
    """Keep the weights of a UNet's blocks in 8 bits, in place; they never train again.

    Call it before an adapter is put in, and after a LoRA that belongs to the base was folded in.

    Args:
        unet: frozen, in the precision it computes in.
        kind: a name of `FORMATS`.

    Returns:
        How many layers there are.

    Raises:
        ConfigError: an unknown format.
    """
    if kind not in FORMATS:
        what = f"'{kind}' is no format of 8 bits"
        raise ConfigError(what, where="model.storage", hint=nearest(kind, [*FORMATS, "dtype"]))
    layers = [
        module
        for path, module in unet.named_modules()
        if path.startswith(BLOCKS) and type(module) in KINDS and _plain(module)
    ]
    for layer in layers:
        _convert(layer, FORMATS[kind])
    return len(layers)


def in_8_bits(net: nn.Module) -> bool:
    """Tell whether any weights are kept in 8 bits."""
    return any(narrow(module) for module in net.modules())


def refuse_8_bits(net: nn.Module, *, doing: str) -> None:
    """Refuse what would fold something into bytes, or write them down as weights.

    Raises:
        ConfigError: weights are kept in 8 bits.
    """
    if in_8_bits(net):
        hint = "load the base again without model.storage and put the LoRA on that"
        what = f"weights of 8 bits cannot be {doing}"
        raise ConfigError(what, where="model.storage", hint=hint)


@torch.no_grad()
def narrowed(weight: Tensor, form: Format) -> tuple[Tensor, Tensor]:
    """Return a weight's numbers of 8 bits, and the scales [out 1 ...] that give it back.

    A scale is rounded to the weight's precision before it is used, so that its own rounding adds
    nothing; a channel of zeros has the smallest scale there is.
    """
    top = weight.float().abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True)
    smallest = torch.finfo(weight.dtype).tiny
    scale = (top / form.largest).clamp(min=smallest).to(weight.dtype)
    steps = (weight.float() / scale.float()).clamp(-form.largest, form.largest)
    if not form.dtype.is_floating_point:
        steps = steps.round()
    return steps.to(form.dtype), scale


def widened(weight: Tensor, scale: Tensor) -> Tensor:
    """Return the weight the numbers stand for, in the scale's precision."""
    return weight.to(scale.dtype) * scale


def _plain(layer: nn.Module) -> bool:
    return getattr(layer, "padding_mode", "zeros") == "zeros"


def _convert(layer: nn.Module, form: Format) -> None:
    """Turn a layer into its kind of 8 bits; its path, bias and settings stay."""
    numbers, scale = narrowed(layer.get_parameter("weight"), form)
    layer.__class__ = KINDS[type(layer)]
    kept = cast(EightBit, layer)
    kept.kept_as = form.dtype
    kept.weight = nn.Parameter(numbers.view(torch.int8), requires_grad=False)
    kept.scale = nn.Parameter(scale, requires_grad=False)
