"""Putting a user adapter into a network: which layers get one, and what their K' starts as."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_stable_cascade import SDCascadeAttnBlock, StableCascadeUNet
from jaxtyping import Float
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from diffpref.errors import ConfigError
from diffpref.models.user_adapter import NAME, TOKENS, UserAdapter, user_adapter_of
from diffpref.models.user_attention import UserAttention

UserNet = UNet2DConditionModel | StableCascadeUNet


class Site(NamedTuple):
    """A layer that reads the text, and the matrix that takes the text's tokens to its keys."""

    attention: Attention
    key: Float[Tensor, "inner d"]


def add_user_adapter(
    net: UserNet, *, width: int, tokens: int = TOKENS, seed: int = 0, silent: bool = False
) -> UserAdapter:
    """Give a network users: SD1.5's or SDXL's UNet, or Stable Cascade's stage C.

    Nothing changes until a user is told and V' has left zero. The network's own weights keep
    their precision and whether they train; the adapter's are at least float32 and train. A LoRA
    may be underneath, its layers' K included in what K' starts as.

    Args:
        net: the network.
        width: numbers of a user's vector.
        tokens: per user.
        seed: of the projector's first numbers.
        silent: whether a vector of zeros says nothing.

    Returns:
        The adapter, which is now a part of the network.

    Raises:
        ConfigError: too few tokens, no width, an adapter there already, or unknown attention.
    """
    if tokens < TOKENS:
        raise ConfigError(
            f"{tokens} tokens per user are too few",
            where="users.tokens",
            hint=f"set at least {TOKENS}: the softmax over one token is the constant 1, so that "
            f"its key is never trained, and stock diffusers reads {TOKENS}",
        )
    if width < 1:
        raise ConfigError("a user's vector is empty", where="users.width", hint="set at least 1")
    if user_adapter_of(net) is not None:
        hint = "load the base again, or continue the run that made it"
        raise ConfigError("the model has a user adapter already", where="adapter.kind", hint=hint)
    found = sites(net)
    if not found or len({site.key.shape[1] for site in found}) != 1:
        raise ConfigError(
            "has no cross-attention a user adapter fits",
            where="model.base",
            hint="choose SD1.5, SDXL or Stable Cascade's stage C",
        )
    keys = [site.key for site in found]
    adapter = UserAdapter(width=width, tokens=tokens, keys=keys, seed=seed, silent=silent)
    install(net, adapter, [site.attention for site in found])
    return adapter


def install(net: nn.Module, adapter: UserAdapter, attentions: Sequence[Attention]) -> None:
    """Make the adapter a part of the network and let its layers listen to it."""
    wide = torch.promote_types(next(net.parameters()).dtype, torch.float32)
    adapter.to(next(net.parameters()).device, wide)
    net.add_module(NAME, adapter)
    layers: list[Any] = list(adapter.layers.values())
    for attention, layer in zip(attentions, layers, strict=True):
        plain = attention.get_processor()
        listening: Any = UserAttention(plain, layer, adapter)  # stock names its own classes only
        attention.set_processor(listening)


def sites(net: UserNet) -> list[Site]:
    """Return the layers that read the text, in the order of the stock IP-Adapter layout.

    In stage C the text reaches a layer's keys through the block's own mapper, which is
    Linear(SiLU(.)): K' starts as the product of both matrices. Their biases shift all keys of a
    softmax alike or are left out as SiLU is; this is a start, not an identity.
    """
    if isinstance(net, StableCascadeUNet):
        blocks = [each for each in net.modules() if isinstance(each, SDCascadeAttnBlock)]
        return [
            Site(each.attention, _weight(each.attention.to_k) @ _weight(each.kv_mapper[1]))
            for each in blocks
        ]
    return [
        Site(each, _weight(each.to_k))
        for path, each in net.named_modules()
        if path.endswith("attn2") and isinstance(each, Attention)
    ]


@torch.no_grad()
def _weight(linear: nn.Module | None) -> Float[Tensor, "out in"]:
    """Return a linear layer's matrix, its LoRA added, at least float32."""
    assert linear is not None  # the layers of these networks have keys
    if not isinstance(linear, LoraLayer):
        return _wide(linear.get_parameter("weight"))
    layer: Any = linear
    total = _wide(layer.get_base_layer().get_parameter("weight"))
    active = [] if linear.disable_adapters else linear.active_adapters
    for name in active:
        total = total + _wide(layer.get_delta_weight(name))
    return total


def _wide(value: Tensor) -> Tensor:
    return value.detach().to(torch.promote_types(value.dtype, torch.float32))
