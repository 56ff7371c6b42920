"""A distilled decoder for rewards: a full one costs as much as three UNet calls of SD1.5."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

from diffpref.errors import ConfigError
from diffpref.models.quiet import quiet
from diffpref.models.vae import Images
from diffpref.types import Latents


def load_tiny_decoder(source: str, *, device: torch.device) -> Callable[[Latents], Images]:
    """Return a differentiable decoder of scaled latents to pictures in [0, 1], in float32.

    Args:
        source: folder or hub id of a diffusers `AutoencoderTiny` for this model family, such as
            madebyollin/taesd (SD1.5) or madebyollin/taesdxl (SDXL).
        device: where it computes.

    Returns:
        The decoder, frozen.

    Raises:
        ConfigError: it cannot be loaded.
    """
    try:
        with quiet():
            tiny: Any = AutoencoderTiny.from_pretrained(
                source, use_safetensors=True, local_files_only=Path(source).exists()
            )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot load a tiny autoencoder from '{source}'",
            where="reward.decoder",
            hint="give a folder with config.json and safetensors, or leave reward.decoder out",
        ) from error
    tiny = tiny.to(device, torch.float32).eval().requires_grad_(False)

    def decode(latents: Latents) -> Images:
        with torch.autocast(device.type, enabled=False):
            pixels = tiny.decode(latents.to(device, torch.float32), return_dict=False)[0]
        return (pixels * 0.5 + 0.5).clamp(0, 1).to(latents.device)

    return decode
