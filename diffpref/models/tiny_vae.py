"""A distilled decoder for rewards: a full one costs as much as three UNet calls of SD1.5."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

from diffpref.errors import ConfigError
from diffpref.models.components import load_net
from diffpref.models.hub import locate
from diffpref.models.layout import read_config
from diffpref.models.vae import Images
from diffpref.types import Latents

WHERE = "reward.decoder"
CHANNELS = 4
"""Of the latents of SD1.5 and SDXL."""

_HINT = "give an AutoencoderTiny of this family, such as madebyollin/taesd, or leave it out"


def load_tiny_decoder(source: str, *, device: torch.device) -> Callable[[Latents], Images]:
    """Return a differentiable decoder of scaled latents to pictures in [0, 1], in float32.

    Args:
        source: folder or hub id of a diffusers `AutoencoderTiny` for this model family, such as
            madebyollin/taesd (SD1.5) or madebyollin/taesdxl (SDXL).
        device: where it computes.

    Returns:
        The decoder, frozen.

    Raises:
        ConfigError: there is no such folder, it holds another model, or it cannot be loaded.
        UnsafeFileError: pickled weights.
        HubError: not on this machine and out of reach.
    """
    folder = locate(source, where=WHERE).path
    if not folder.is_dir():
        hint = "name the folder that holds its config.json too"
        raise ConfigError(f"{source} is a file, not a folder", where=WHERE, hint=hint)
    kind = read_config(folder / "config.json").get("_class_name", "nothing of diffusers")
    if kind != "AutoencoderTiny":
        what = f"{source} is not a tiny autoencoder: it holds {kind}"
        raise ConfigError(what, where=WHERE, hint=_HINT)
    tiny: Any = load_net(AutoencoderTiny, folder, torch.float32, WHERE)
    if tiny.config["latent_channels"] != CHANNELS:
        what = f"{source} decodes {tiny.config['latent_channels']} latent channels, not {CHANNELS}"
        raise ConfigError(what, where=WHERE, hint=_HINT)
    frozen = tiny.to(device).eval().requires_grad_(False)

    def decode(latents: Latents) -> Images:
        with torch.autocast(device.type, enabled=False):
            scaled = latents.to(device, torch.float32) / frozen.config["scaling_factor"]
            pixels = frozen.decode(scaled, return_dict=False)[0]
        return (pixels * 0.5 + 0.5).clamp(0, 1).to(latents.device)

    return decode
