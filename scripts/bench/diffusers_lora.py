"""The step of diffusers' LoRA script for Diffusion-DPO, in our words, as a second yardstick.

Written from the description of `train_diffusion_dpo.py` in diffusers' research projects: all pairs
of a batch at once, winners first; the policy, then the same network with its adapters off; squares
in float32. Pixels and captions are encoded in the step, unless `cached`.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpref.models import adapters_off
from scripts.bench.official import Casting, Encode, Given


@dataclass(frozen=True, kw_only=True)
class DiffusersLora:
    """The networks of the script, whether it finds latents and text ready, and beta."""

    unet: Any
    vae: Any
    encode: Encode
    alphas: Tensor
    beta: float
    cached: bool
    autocast: Casting = nullcontext

    def window(self, pairs: Sequence[Given]) -> float:
        """Accumulate the gradient of one batch of pairs; return the mean loss."""
        latents, text, pooled = self._ready(pairs) if self.cached else self._encoded(pairs)
        noise = torch.cat([pair.noise for pair in pairs]).repeat(2, 1, 1, 1)
        t = torch.cat([pair.t for pair in pairs]).repeat(2)
        signal = self.alphas[t].sqrt().view(-1, 1, 1, 1)
        noisy = signal * latents + (1 - signal.square()).sqrt() * noise
        told = {
            "encoder_hidden_states": text.repeat(2, 1, 1),
            "added_cond_kwargs": _added(pairs, pooled),
        }
        difference = self._difference(noisy, t, told, noise)
        with torch.no_grad(), adapters_off(self.unet):
            base = self._difference(noisy, t, told, noise)
        loss = -F.logsigmoid(-0.5 * self.beta * (difference - base)).mean()
        loss.backward()
        return float(loss.detach())

    def _difference(self, noisy: Tensor, t: Tensor, told: dict[str, Any], noise: Tensor) -> Tensor:
        with self.autocast():
            predicted = self.unet(noisy, t, **told).sample
        winners, losers = (predicted.float() - noise.float()).pow(2).mean(dim=[1, 2, 3]).chunk(2)
        return winners - losers

    def _ready(self, pairs: Sequence[Given]) -> tuple[Tensor, Tensor, Tensor | None]:
        latents = torch.stack([pair.latents for pair in pairs], dim=1).flatten(0, 1)
        pooled = [pair.pooled for pair in pairs if pair.pooled is not None]
        return latents, torch.cat([p.text for p in pairs]), torch.cat(pooled) if pooled else None

    def _encoded(self, pairs: Sequence[Given]) -> tuple[Tensor, Tensor, Tensor | None]:
        with torch.no_grad():
            pixels = torch.stack([pair.pixels for pair in pairs], dim=1).flatten(0, 1)
            with self.autocast():
                latents = self.vae.encode(pixels).latent_dist.sample()
            scaled = latents.float() * self.vae.config.scaling_factor
            return scaled, *self.encode(torch.cat([pair.ids for pair in pairs]))


def _added(pairs: Sequence[Given], pooled: Tensor | None) -> dict[str, Tensor] | None:
    ids = [pair.time_ids for pair in pairs if pair.time_ids is not None]
    if pooled is None or not ids:
        return None
    return {"text_embeds": pooled.repeat(2, 1), "time_ids": torch.cat(ids).repeat(2, 1)}
