"""Stage B of Stable Cascade: frozen, it makes a picture of stage C's latents and the prompt."""

from dataclasses import dataclass, field

from diffusers.configuration_utils import ConfigMixin
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from diffusers.pipelines.stable_cascade.pipeline_stable_cascade import PaellaVQModel
from torch import nn

FOLDER = "stage_b"
"""Beside stage C's parts: a folder of diffusers' StableCascadeDecoderPipeline."""

SCALE = 10.67
"""Its latents' side over stage C's; the published one."""

STEPS = 10
SIDE = 4
"""Pixels of a picture's side per latent of stage B."""


@dataclass(frozen=True, kw_only=True)
class StageB:
    """What makes pictures: the decoder, its autoencoder, its schedule, and its latents' scale.

    Its text encoder is stage C's, as published.
    """

    decoder: StableCascadeUNet = field(repr=False)
    vqgan: PaellaVQModel = field(repr=False)
    scheduler: ConfigMixin
    scale: float = SCALE

    @property
    def nets(self) -> tuple[nn.Module, ...]:
        return self.decoder, self.vqgan
