"""What a frozen base makes of noisy latents: pooled features, and predictions of its own."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffpref.models.bundle import Bundle
from diffpref.models.embedder import UNetEmbedder, bare_copy, embedder_of
from diffpref.models.memory import cast_weights, freeze
from diffpref.models.unet import UNetDenoiser
from diffpref.types import Conditioning, Latents, Steps


@dataclass(frozen=True, kw_only=True)
class PooledFeatures:
    """The outputs of every down block and of the middle block, each averaged over its places.

    SD1.5 gives 320 + 640 + 1280 + 1280 + 1280 = 4800 numbers. The gradient flows to x_t only.
    """

    embedder: UNetEmbedder

    def __call__(self, x_t: Latents, t: Steps, cond: Conditioning, /) -> Float[Tensor, "n d"]:
        """Return the features in at least float32."""
        scales: list[Tensor] = []

        def keep(block: nn.Module, told: Any, output: Any) -> None:
            del block, told
            scales.append(output[0].mean(dim=(2, 3)))

        hooks = [block.register_forward_hook(keep) for block in self.embedder.net.down_blocks]
        try:
            middle = self.embedder(x_t, t, cond)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([*scales, middle.mean(dim=(2, 3))], dim=1)


def pooled_features(bundle: Bundle) -> PooledFeatures:
    """Return the features of a copy of the bundle's UNet as it is now, without its adapters."""
    return PooledFeatures(embedder=embedder_of(bundle)("mid"))


def base_denoiser(bundle: Bundle) -> UNetDenoiser:
    """Return a frozen copy of the bundle's UNet as it is now, without its adapters, that predicts.

    It is a copy for the reason `embedder_of` gives, in the precision the bundle computes in.
    """
    net = cast_weights(freeze(bare_copy(bundle.sd_unet)), bundle.dtype)
    net.disable_gradient_checkpointing()
    return UNetDenoiser(
        net=net,
        family=bundle.family,
        prediction=bundle.prediction,
        schedule=bundle.schedule,
        compute=bundle.dtype,
        autocast=False,
    )
