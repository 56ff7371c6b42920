"""The networks both sides of the comparison use, and random pairs for them."""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from diffpref import references
from diffpref.draws import Draws
from diffpref.models import AdapterConfig, adapters_off, load_bundle, make_adapter
from diffpref.models.family import SD15, Family
from diffpref.models.shapes import shapes_of
from diffpref.models.unet import UNetDenoiser
from diffpref.schedule import NoiseSchedule, scaled_linear
from diffpref.types import Conditioning, Nets, PreferenceBatch
from scripts.bench.official import Given

LORA_RANK = 16


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Policy, frozen copy (None: the policy's adapters are switched off), and what encodes."""

    unet: Any
    reference: Any
    vae: Any
    encoder: Any
    schedule: NoiseSchedule
    family: Family = SD15
    dtype: torch.dtype = torch.float32

    def nets(self) -> Nets:
        """Return policy and reference as our loop calls them."""
        policy = self._denoiser(self.unet)
        if self.reference is not None:
            return Nets(policy=policy, reference=self._denoiser(self.reference))
        off = references.adapters_off(policy, lambda: adapters_off(self.unet))
        return Nets(policy=policy, reference=off.net)

    def _denoiser(self, net: nn.Module) -> UNetDenoiser:
        return UNetDenoiser(
            net=net,
            family=self.family,
            prediction="epsilon",
            schedule=self.schedule,
            compute=self.dtype,
            autocast=False,
        )


def networks(model: str, adapter: str) -> Networks:
    """Return the bundled base (`tiny`) or SD1.5 with random weights, to train fully or by LoRA."""
    make = {"tiny": _bundled, "sd15": _random}[model]
    found = make()
    for net in (found.vae, found.encoder):
        net.eval().requires_grad_(False)
    if adapter == "lora":
        make_adapter(found, AdapterConfig(rank=LORA_RANK))
        found.unet.train()
        return found
    reference = deepcopy(found.unet).eval().requires_grad_(False)
    found.unet.train().requires_grad_(True)
    return replace(found, reference=reference)


def _bundled() -> Networks:
    bundle = load_bundle("builtin:base")
    return Networks(
        unet=bundle.unet,
        reference=None,
        vae=bundle.vae,
        encoder=bundle.text.encoders[0],
        schedule=bundle.schedule,
    )


def _random() -> Networks:
    torch.manual_seed(0)
    shapes = shapes_of(SD15.configs, dtype="fp32")
    unet, vae, encoder = (net.to_empty(device="cpu") for net in (shapes.unet, *shapes.rest))
    for net in (unet, vae, encoder):
        for value in net.parameters():
            nn.init.normal_(value, std=0.02)
    for name, value in encoder.named_buffers():  # made without their numbers
        if name.endswith("position_ids"):
            value.copy_(torch.arange(value.shape[-1])[None])
    return Networks(unet=unet, reference=None, vae=vae, encoder=encoder, schedule=scaled_linear())


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The same pairs twice: one by one for the released steps, and as our window.

    `window` holds the posteriors' means, `std` their spreads.
    """

    given: list[Given]
    window: PreferenceBatch
    std: Tensor
    draws: Draws


@torch.no_grad()
def random_pairs(found: Networks, px: int, pairs: int) -> Pairs:
    """Return pairs of random pictures with random captions."""
    rng = torch.Generator().manual_seed(1)
    draws = Draws(0, torch.arange(pairs))
    config = found.encoder.config
    pixels = torch.rand(pairs, 2, 3, px, px, generator=rng) * 2 - 1
    ids = torch.randint(
        1, config.vocab_size, (pairs, config.max_position_embeddings), generator=rng
    )
    posterior = found.vae.encode(pixels.flatten(0, 1)).latent_dist
    scale = found.vae.config.scaling_factor
    mean, std = (
        (each * scale).unflatten(0, (pairs, 2)) for each in (posterior.mean, posterior.std)
    )
    text, shape = found.encoder(ids)[0], tuple(mean.shape[2:])
    latents = mean + std * draws.normal("bench", shape, images=2)
    t, noise = draws.integers("t", 0, len(found.schedule)), draws.normal("noise", shape)
    window = PreferenceBatch(
        latents=mean,
        cond=Conditioning(text=text),
        score=torch.tensor([[1.0, 0.0]]).repeat(pairs, 1),
        positions=draws.positions,
    )

    def row(n: int) -> Given:
        one = slice(n, n + 1)
        return Given(
            pixels=pixels[n],
            ids=ids[one],
            latents=latents[n],
            text=text[one],
            noise=noise[one],
            t=t[one],
        )

    return Pairs(given=[row(n) for n in range(pairs)], window=window, std=std, draws=draws)
