"""The inner step of the released Diffusion-DPO training script, in our words, as a yardstick.

Written from the description of SalesforceAIResearch/DiffusionDPO's `train.py`: per pair, both
images through the autoencoder in the step, one t and one noise for both, the caption through the
text encoder, the policy on both, the frozen copy on both, squares in float32, and the numbers of
the step read back at once. Micro-batches of one pair, gradients accumulated, as its launchers do.
On a CPU there is no autocast; everything is float32. SDXL is also told pooled text and sizes.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Encode = Callable[[Tensor], tuple[Tensor, Tensor | None]]
Casting = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the step is given for one pair: pixels in [-1, 1] and token ids, or what they become.

    pixels: [2 3 y x]. ids: [1 77]. latents: [2 c h w]. text: [1 77 d]. noise: [1 c h w]. t: [1].
    pooled: [1 p] and time_ids: [1 6], of SDXL.
    """

    pixels: Tensor
    ids: Tensor
    latents: Tensor
    text: Tensor
    noise: Tensor
    t: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None

    def added(self, pooled: Tensor | None) -> dict[str, Tensor] | None:
        """Return what SDXL is told besides, for both images; None for SD1.5."""
        if pooled is None or self.time_ids is None:
            return None
        return {"text_embeds": pooled.repeat(2, 1), "time_ids": self.time_ids.repeat(2, 1)}


@dataclass(frozen=True, kw_only=True)
class Official:
    """The networks of the script, and whether it finds latents and text embeddings ready.

    unet, reference, vae: of the libraries. encode: token ids -> text and pooled text. alphas:
    signal power. autocast: what passes compute in where it is not float32.
    """

    unet: Any
    reference: Any
    vae: Any
    encode: Encode
    alphas: Tensor
    beta: float
    cached: bool
    autocast: Casting = nullcontext

    def window(self, pairs: Sequence[Given]) -> float:
        """Accumulate the gradient of a window of pairs; return the mean loss."""
        total = 0.0
        for pair in pairs:
            total += self._pair(pair, len(pairs))
        return total / len(pairs)

    def _pair(self, pair: Given, accumulated: int) -> float:
        ready = pair.latents, pair.text, pair.pooled
        latents, text, pooled = ready if self.cached else self._encoded(pair)
        noise, t = pair.noise.repeat(2, 1, 1, 1), pair.t.repeat(2)
        signal = self.alphas[t].sqrt().view(-1, 1, 1, 1)
        noisy = signal * latents + (1 - signal.square()).sqrt() * noise
        told = {
            "encoder_hidden_states": text.repeat(2, 1, 1),
            "added_cond_kwargs": pair.added(pooled),
        }
        with self.autocast():
            predicted = self.unet(noisy, t, **told).sample
        errors = (predicted.float() - noise.float()).pow(2).mean(dim=[1, 2, 3])
        difference = errors[0] - errors[1]
        with torch.no_grad(), self.autocast():
            known = self.reference(noisy, t, **told).sample
            theirs = (known.float() - noise.float()).pow(2).mean(dim=[1, 2, 3])
            base = theirs[0] - theirs[1]
        inside = -0.5 * self.beta * (difference - base)
        loss = -F.logsigmoid(inside)
        read = [loss, errors.mean(), theirs.mean(), (inside > 0).float()]
        values = [float(each.detach()) for each in read]
        (loss / accumulated).backward()
        return values[0]

    def _encoded(self, pair: Given) -> tuple[Tensor, Tensor, Tensor | None]:
        with torch.no_grad():
            with self.autocast():
                posterior = self.vae.encode(pair.pixels).latent_dist
            latents = posterior.sample() * self.vae.config.scaling_factor
            return latents.float(), *self.encode(pair.ids)
