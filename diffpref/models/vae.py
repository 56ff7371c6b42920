"""Pixels to latents and back, never in half precision."""

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL, AutoencoderKLOutput
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import ConfigError
from diffpref.models.cascade.effnet import FACTOR, EffNetEncoder
from diffpref.types import Latents

Images = Float[Tensor, "n 3 y x"]


def check_vae(vae: AutoencoderKL | EffNetEncoder, where: str) -> None:
    """Refuse an autoencoder whose latents are not just multiplied by the scaling factor.

    Raises:
        ConfigError: the config shifts latents or normalises them per channel.
    """
    if isinstance(vae, EffNetEncoder):
        return
    odd = [key for key in ("shift_factor", "latents_mean", "latents_std") if vae.config.get(key)]
    if odd:
        raise ConfigError(
            f"the autoencoder of {where} has {', '.join(odd)}, which SD1.5 and SDXL do not",
            where="model.vae",
            hint="leave model.vae out to use the one that came with model.base",
        )


def downsampling(vae: AutoencoderKL | EffNetEncoder) -> int:
    """Return how many pixels one latent is wide."""
    if isinstance(vae, EffNetEncoder):
        return FACTOR
    return 2 ** (len(vae.config["block_out_channels"]) - 1)


def encode_images(vae: AutoencoderKL | EffNetEncoder, pixels: Images) -> tuple[Latents, Latents]:
    """Return the posterior's mean and standard deviation, scaled, on the device of `pixels`.

    Precision:
        float32 whatever the rest of the model runs in (float64 if the VAE is): float16 overflows
        inside SDXL's autoencoder.

    Raises:
        ValueError: a side is not a multiple of the downsampling factor.
        ConfigError: the autoencoder gives numbers that are not finite.
    """
    factor = downsampling(vae)
    if pixels.shape[-1] % factor or pixels.shape[-2] % factor:
        size = f"{pixels.shape[-1]}x{pixels.shape[-2]}"
        raise ValueError(f"images of {size}: both sides must be multiples of {factor}")
    mean, std = _features(vae, pixels) if isinstance(vae, EffNetEncoder) else _scaled(vae, pixels)
    if not bool(torch.isfinite(mean).all() and torch.isfinite(std).all()):
        raise ConfigError(
            "the autoencoder gives numbers that are not finite",
            where="model.vae",
            hint="the weights are damaged: fetch them again or choose another model.vae",
        )
    return mean.to(pixels.device), std.to(pixels.device)


def _features(vae: EffNetEncoder, pixels: Images) -> tuple[Latents, Latents]:
    """Return stage C's latents, which have no spread."""
    told = next(vae.parameters(), pixels)
    with torch.autocast(told.device.type, enabled=False):
        mean = vae(pixels.to(told.device, told.dtype))
    return mean, torch.zeros_like(mean)


def _scaled(vae: AutoencoderKL, pixels: Images) -> tuple[Latents, Latents]:
    with torch.autocast(vae.device.type, enabled=False):
        inputs = 2 * pixels.to(vae.device, vae.dtype) - 1
        encoded = vae.encode(inputs)
    assert isinstance(encoded, AutoencoderKLOutput)
    posterior, scale = encoded.latent_dist, vae.config["scaling_factor"]
    return scale * posterior.mean, scale * posterior.std


def decode(vae: AutoencoderKL | EffNetEncoder, latents: Latents) -> Images:
    """Return images in [0, 1] on the device of `latents`; differentiable.

    Precision:
        float32 whatever the latents are (float64 if the VAE is).

    Raises:
        ConfigError: these are stage C's, of which only stage B makes pictures.
    """
    if isinstance(vae, EffNetEncoder):
        what = "Stable Cascade's latents are no pictures yet: stage B makes them, from the prompt"
        hint = "train on data; for pictures use diffpref generate"
        raise ConfigError(what, where="model.base", hint=hint)
    with torch.autocast(vae.device.type, enabled=False):
        scaled = latents.to(vae.device, vae.dtype) / vae.config["scaling_factor"]
        pixels = vae.decode(scaled, return_dict=False)[0]
    return (pixels * 0.5 + 0.5).clamp(0, 1).to(latents.device)
