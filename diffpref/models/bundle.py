"""A loaded model: everything a run needs, in one frozen record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet

from diffpref.errors import ConfigError
from diffpref.models import vae as vae_door
from diffpref.models.cascade.effnet import EffNetEncoder
from diffpref.models.cascade.stage_b import StageB
from diffpref.models.family import Family
from diffpref.models.graphs import Graphs
from diffpref.models.noising import Prediction
from diffpref.models.text import TextEncoders
from diffpref.models.vae import Images
from diffpref.schedule import NoiseSchedule
from diffpref.types import Conditioning, Latents

Network = UNet2DConditionModel | StableCascadeUNet
Autoencoder = AutoencoderKL | EffNetEncoder


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The networks, the schedule and where they came from.

    `dtype` is what the UNet computes in; its trainable parameters may be wider. `source` is the
    base as the user wrote it, `revision` the commit a hub id resolved to. `fingerprints` are
    hashes of the weights as loaded, by part: unet, vae, text. Of Stable Cascade, `unet` is stage C,
    `vae` reads pictures and `stage_b` makes them, if it is there. `graphs` replays its
    denoisers' passes without gradient.
    """

    family: Family
    unet: Network
    vae: Autoencoder
    text: TextEncoders
    schedule: NoiseSchedule
    prediction: Prediction
    scheduler: ConfigMixin
    dtype: torch.dtype
    source: str
    revision: str | None
    fingerprints: Mapping[str, str]
    stage_b: StageB | None = None
    graphs: Graphs | None = None

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def sd_unet(self) -> UNet2DConditionModel:
        """Return the UNet of Stable Diffusion.

        Raises:
            ConfigError: the model is Stable Cascade.
        """
        if isinstance(self.unet, StableCascadeUNet):
            raise _not_sd(self.source)
        return self.unet

    @property
    def sd_vae(self) -> AutoencoderKL:
        """Return the autoencoder of Stable Diffusion.

        Raises:
            ConfigError: the model is Stable Cascade.
        """
        if isinstance(self.vae, EffNetEncoder):
            raise _not_sd(self.source)
        return self.vae

    @property
    def fingerprint(self) -> str:
        """One hash of all weights and of the noise schedule."""
        total = blake2b(digest_size=16)
        for part in sorted(self.fingerprints):
            total.update(f"{part}={self.fingerprints[part]};".encode())
        total.update(self.schedule.abar.numpy().tobytes())
        total.update(self.prediction.encode())
        return total.hexdigest()

    @property
    def vae_factor(self) -> int:
        """How many pixels one latent is wide."""
        return vae_door.downsampling(self.vae)

    @property
    def resolution(self) -> int:
        """The side in pixels the UNet was made for."""
        size = self.unet.config.get("sample_size")
        return int(size) * self.vae_factor if isinstance(size, int) else self.family.resolution

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return [c h w] of the latents of an image of height x width pixels."""
        channels = int(self.unet.config["in_channels"])
        return channels, height // self.vae_factor, width // self.vae_factor

    def encode_images(self, pixels: Images) -> tuple[Latents, Latents]:
        """Return the scaled posterior's mean and standard deviation in float32."""
        return vae_door.encode_images(self.vae, pixels)

    def decode(self, latents: Latents) -> Images:
        """Return images in [0, 1] in float32; differentiable."""
        return vae_door.decode(self.vae, latents)

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """Return the conditioning of prompts in float32 on the CPU; `time_ids` are absent."""
        return self.text.encode(prompts)

    def encode_uncond(self, n: int) -> Conditioning:
        """Return n rows of what guidance contrasts with; `time_ids` are absent."""
        return self.text.uncond(n)


def _not_sd(source: str) -> ConfigError:
    what = f"{source} is Stable Cascade, which knows this neither here nor in stock diffusers"
    hint = "choose SD1.5 or SDXL; Stable Cascade takes adapter.kind: user on pairs, and generate"
    return ConfigError(what, where="model.base", hint=hint)
