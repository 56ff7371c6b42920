"""The down stack of a UNet as a frozen feature network on noisy latents."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from diffpref.errors import ConfigError, nearest
from diffpref.models.bundle import Bundle
from diffpref.models.family import Family
from diffpref.models.quiet import quiet
from diffpref.types import Conditioning, Latents, Steps, cast

LAYERS = ("down", "mid")


@dataclass(frozen=True, kw_only=True)
class UNetEmbedder:
    """Features of a truncated UNet; the gradient flows to x_t only. Implements `Embedder`."""

    net: UNet2DConditionModel
    family: Family

    def __call__(self, x_t: Latents, t: Steps, cond: Conditioning, /) -> Float[Tensor, "n d y x"]:
        told = cast(cond, self.net.device, self.net.dtype)
        with torch.autocast(self.net.device.type, enabled=False):
            return self.net(
                x_t.to(told.text),
                t.to(self.net.device).clamp(min=0),
                encoder_hidden_states=told.text,
                added_cond_kwargs=self.family.added(told),
                return_dict=False,
            )[0]


def embedder_of(bundle: Bundle) -> Callable[[str], UNetEmbedder]:
    """Return a maker of embedders of the bundle's UNet as it is now, without its adapters.

    The copy is made when an embedder is asked for, so ask before training starts or is resumed. It
    holds the down blocks (and the middle block) only, in at least float32: feature differences lie
    near float16's resolution. That is about a third of the UNet's weights at twice their
    half-precision size. It is a copy and not the policy with its adapters off, because checkpointed
    activations are recomputed with whatever is on then.
    """

    def make(layer: str) -> UNetEmbedder:
        if layer not in LAYERS:
            raise ConfigError(
                f"'{layer}' is not a layer", where="method.layer", hint=nearest(layer, LAYERS)
            )
        net = _truncated(bundle.sd_unet, layer)
        wide: Any = torch.promote_types(bundle.dtype, torch.float32)  # typed as a module there
        with quiet():
            net.to(wide).requires_grad_(False).eval()
        net.disable_gradient_checkpointing()
        return UNetEmbedder(net=net, family=bundle.family)

    return make


def _truncated(unet: UNet2DConditionModel, layer: str) -> UNet2DConditionModel:
    """Copy a UNet up to a layer; the stock forward then returns that layer's output."""
    shell: Any = copy.copy(unet)
    gone: Mapping[str, nn.Module | None] = {
        "up_blocks": nn.ModuleList(),
        "conv_norm_out": None,
        "conv_act": None,
        "conv_out": nn.Identity(),
        **({"mid_block": None} if layer == "down" else {}),
    }
    shell._modules = {**unet._modules, **gone}
    return bare_copy(shell)


def bare_copy(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return a copy without adapters that shares nothing with the network."""
    net = copy.deepcopy(unet)
    for name, module in list(net.named_modules()):
        if isinstance(module, BaseTunerLayer):
            owner, _, own = name.rpartition(".")
            setattr(net.get_submodule(owner), own, module.get_base_layer())
    return net
