"""The networks both sides of the comparison use, and random pairs for them."""

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from diffpref import references
from diffpref.draws import Draws
from diffpref.models import AdapterConfig, adapters_off, load_bundle, make_adapter
from diffpref.models.family import FAMILIES, SD15, Family
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
    encoders: tuple[Any, ...]
    schedule: NoiseSchedule
    family: Family = SD15
    dtype: torch.dtype = torch.float32

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @torch.no_grad()
    def encode(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return text, and pooled text where there are two encoders, as SDXL is told them."""
        if len(self.encoders) == 1:
            return self.encoders[0](ids)[0], None
        found = [encoder(ids, output_hidden_states=True) for encoder in self.encoders]
        text = torch.cat([each.hidden_states[-2] for each in found], dim=-1)
        return text, found[-1][0]

    def casting(self) -> AbstractContextManager[object]:
        """Return what a released step's passes run in: autocast, where it is not float32."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

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
            autocast=self.dtype != torch.float32,
        )


def networks(
    model: str, adapter: str, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Networks:
    """Return the bundled base (`tiny`) or SD1.5 or SDXL with random weights.

    Args:
        model: tiny, sd15 or sdxl.
        adapter: full or lora.
        device: where to.
        dtype: what passes compute in; weights are float32.
    """
    found = replace(
        _bundled() if model == "tiny" else _random(FAMILIES[model], device), dtype=dtype
    )
    for net in (found.vae, *found.encoders):
        net.to(device).eval().requires_grad_(False)
    found.unet.to(device)
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
        encoders=tuple(bundle.text.encoders),
        schedule=bundle.schedule,
    )


def _random(family: Family, device: str) -> Networks:
    torch.manual_seed(0)
    shapes = shapes_of(family.configs, dtype="fp32")
    unet, vae, *encoders = (net.to_empty(device=device) for net in (shapes.unet, *shapes.rest))
    for net in (unet, vae, *encoders):
        for value in net.parameters():
            nn.init.normal_(value, std=0.02)
    for encoder in encoders:
        for name, value in encoder.named_buffers():  # made without their numbers
            if name.endswith("position_ids"):
                value.copy_(torch.arange(value.shape[-1])[None])
    return Networks(
        unet=unet,
        reference=None,
        vae=vae,
        encoders=tuple(encoders),
        schedule=scaled_linear(),
        family=family,
    )


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
    rng, device = torch.Generator().manual_seed(1), found.device
    draws = Draws(0, torch.arange(pairs))
    config = found.encoders[0].config
    pixels = (torch.rand(pairs, 2, 3, px, px, generator=rng) * 2 - 1).to(device)
    ids = torch.randint(
        1, config.vocab_size, (pairs, config.max_position_embeddings), generator=rng
    ).to(device)
    mean, std = _posteriors(found, pixels)
    text, pooled = found.encode(ids)
    shape, sizes = tuple(mean.shape[2:]), torch.full((1, 2), px, device=device)
    time_ids = found.family.time_ids(sizes, torch.zeros_like(sizes), sizes)
    latents = mean + std * draws.normal("bench", shape, images=2).to(device)
    t, noise = draws.integers("t", 0, len(found.schedule)), draws.normal("noise", shape)
    window = PreferenceBatch(
        latents=mean,
        cond=Conditioning(text=text, pooled=pooled),
        score=torch.tensor([[1.0, 0.0]]).repeat(pairs, 1),
        positions=draws.positions,
        time_ids=None if time_ids is None else time_ids.expand(pairs, 2, 6),
    )

    def row(n: int) -> Given:
        one = slice(n, n + 1)
        return Given(
            pixels=pixels[n],
            ids=ids[one],
            latents=latents[n],
            text=text[one],
            noise=noise[one].to(device),
            t=t[one].to(device),
            pooled=None if pooled is None else pooled[one],
            time_ids=time_ids,
        )

    return Pairs(given=[row(n) for n in range(pairs)], window=window, std=std, draws=draws)


def _posteriors(found: Networks, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and spread of every picture's latents, one pair at a time."""
    scale, means, stds = found.vae.config.scaling_factor, list[Tensor](), list[Tensor]()
    for pair in pixels:
        posterior = found.vae.encode(pair).latent_dist
        means.append(posterior.mean * scale)
        stds.append(posterior.std * scale)
    return torch.stack(means), torch.stack(stds)
