"""The step of diffusers' LoRA script for Diffusion-DPO, in our words, as a second yardstick.

Written from the description of `train_diffusion_dpo.py` in diffusers' research projects: all pairs
of a batch at once, winners first; the policy, then the same network with its adapters off; squares
in float32. Pixels and captions are encoded in the step, unless `cached`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpref.models import adapters_off
from scripts.bench.official import Given


@dataclass(frozen=True, kw_only=True)
class DiffusersLora:
    """The networks of the script, whether it finds latents and text ready, and beta."""

    unet: Any
    vae: Any
    encoder: Any
    alphas: Tensor
    beta: float
    cached: bool

    def window(self, pairs: Sequence[Given]) -> float:
        """Accumulate the gradient of one batch of pairs; return the mean loss."""
        latents, text = self._ready(pairs) if self.cached else self._encoded(pairs)
        noise = torch.cat([pair.noise for pair in pairs]).repeat(2, 1, 1, 1)
        t = torch.cat([pair.t for pair in pairs]).repeat(2)
        signal = self.alphas[t].sqrt().view(-1, 1, 1, 1)
        noisy = signal * latents + (1 - signal.square()).sqrt() * noise
        told = text.repeat(2, 1, 1)
        difference = self._difference(noisy, t, told, noise)
        with torch.no_grad(), adapters_off(self.unet):
            base = self._difference(noisy, t, told, noise)
        loss = -F.logsigmoid(-0.5 * self.beta * (difference - base)).mean()
        loss.backward()
        return float(loss.detach())

    def _difference(self, noisy: Tensor, t: Tensor, told: Tensor, noise: Tensor) -> Tensor:
        predicted = self.unet(noisy, t, encoder_hidden_states=told).sample
        winners, losers = (predicted.float() - noise.float()).pow(2).mean(dim=[1, 2, 3]).chunk(2)
        return winners - losers

    def _ready(self, pairs: Sequence[Given]) -> tuple[Tensor, Tensor]:
        latents = torch.stack([pair.latents for pair in pairs], dim=1).flatten(0, 1)
        return latents, torch.cat([pair.text for pair in pairs])

    def _encoded(self, pairs: Sequence[Given]) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            pixels = torch.stack([pair.pixels for pair in pairs], dim=1).flatten(0, 1)
            latents = self.vae.encode(pixels).latent_dist.sample()
            text = self.encoder(torch.cat([pair.ids for pair in pairs]))[0]
        return latents * self.vae.config.scaling_factor, text
