"""Both sides of the comparison, on the same weights, pictures, noise and t."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffpref.draws import Draws
from diffpref.methods.diffusion_dpo import diffusion_dpo
from diffpref.models import load_bundle
from diffpref.models.family import SD15
from diffpref.models.shapes import shapes_of
from diffpref.models.unet import UNetDenoiser
from diffpref.schedule import NoiseSchedule, scaled_linear
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import Conditioning, Nets, PreferenceBatch
from scripts.bench.official import Given, Official

BETA = 5000.0
Networks = tuple[Any, Any, Any, Any]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Both sides on the same weights and pairs."""

    official: Official
    online: Official
    given: list[Given]
    nets: Nets
    window: PreferenceBatch
    std: Tensor
    draws: Draws
    schedule: NoiseSchedule

    def ours(self) -> float:
        """Sample the cached posteriors and accumulate the gradient of all pairs in one pass."""
        noise = self.draws.normal("bench", tuple(self.std.shape[2:]), images=2)
        latents = self.window.latents + self.std * noise
        batch = PreferenceBatch(
            latents=latents,
            cond=self.window.cond,
            score=self.window.score,
            positions=self.window.positions,
        )
        objective = diffusion_dpo(Toolkit(schedule=self.schedule), beta=BETA)
        return float(accumulate(objective, self.nets, batch, self.draws).value)

    def ways(self) -> dict[str, Callable[[], float]]:
        return {
            "official, pixels and captions encoded in the step": lambda: self.online.window(
                self.given
            ),
            "official, latents and text ready": lambda: self.official.window(self.given),
            "diffpref": self.ours,
        }


def networks(model: str) -> tuple[Networks, NoiseSchedule]:
    """Return policy, reference, autoencoder and text encoder, and the noise schedule."""
    if model == "tiny":
        bundle = load_bundle("builtin:base")
        nets = (bundle.unet, deepcopy(bundle.unet), bundle.vae, bundle.text.encoders[0])
        return nets, bundle.schedule
    torch.manual_seed(0)
    shapes = shapes_of(SD15.configs, dtype="fp32")
    unet, vae, encoder = (net.to_empty(device="cpu") for net in (shapes.unet, *shapes.rest))
    for net in (unet, vae, encoder):
        for value in net.parameters():
            torch.nn.init.normal_(value, std=0.02)
    _positions(encoder)
    return (unet, deepcopy(unet), vae, encoder), scaled_linear()


def _positions(encoder: Any) -> None:
    """Number the places of a text encoder whose buffers were made without their numbers."""
    for name, value in encoder.named_buffers():
        if name.endswith("position_ids"):
            value.copy_(torch.arange(value.shape[-1])[None])


def make(model: str, px: int, pairs: int) -> Bench:
    """Build both sides on random pictures."""
    (unet, reference, vae, encoder), schedule = networks(model)
    unet.train().requires_grad_(True)
    for net in (reference, vae, encoder):
        net.eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(1)
    draws = Draws(0, torch.arange(pairs))
    pixels = torch.rand(pairs, 2, 3, px, px, generator=rng) * 2 - 1
    ids = torch.randint(
        1, encoder.config.vocab_size, (pairs, encoder.config.max_position_embeddings), generator=rng
    )
    with torch.no_grad():
        posterior = vae.encode(pixels.flatten(0, 1)).latent_dist
        scale = vae.config.scaling_factor
        mean, std = (
            (each * scale).unflatten(0, (pairs, 2)) for each in (posterior.mean, posterior.std)
        )
        text = encoder(ids)[0]
    window = PreferenceBatch(
        latents=mean,
        cond=Conditioning(text=text),
        score=torch.tensor([[1.0, 0.0]]).repeat(pairs, 1),
        positions=draws.positions,
    )
    latents = mean + std * draws.normal("bench", tuple(std.shape[2:]), images=2)
    t = draws.integers("t", 0, len(schedule))
    noise = draws.normal("noise", tuple(std.shape[2:]))
    given = [
        Given(
            pixels=pixels[row],
            ids=ids[row : row + 1],
            latents=latents[row],
            text=text[row : row + 1],
            noise=noise[row : row + 1],
            t=t[row : row + 1],
        )
        for row in range(pairs)
    ]
    parts = {"unet": unet, "reference": reference, "vae": vae, "encoder": encoder}
    alphas = schedule.abar.float()
    denoisers = [
        UNetDenoiser(
            net=net,
            family=SD15,
            prediction="epsilon",
            schedule=schedule,
            compute=torch.float32,
            autocast=False,
        )
        for net in (unet, reference)
    ]
    return Bench(
        official=Official(**parts, alphas=alphas, beta=BETA, cached=True),
        online=Official(**parts, alphas=alphas, beta=BETA, cached=False),
        given=given,
        nets=Nets(policy=denoisers[0], reference=denoisers[1]),
        window=window,
        std=std,
        draws=draws,
        schedule=schedule,
    )
