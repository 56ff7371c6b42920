"""Both sides of the comparison, on the same weights, pictures, noise and t."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from diffpref.methods.diffusion_dpo import diffusion_dpo
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import Nets
from scripts.bench.diffusers_lora import DiffusersLora
from scripts.bench.networks import Networks, Pairs, networks, random_pairs
from scripts.bench.official import Given, Official

BETA = 5000.0
READY, ONLINE = "latents and text ready", "pixels and captions encoded in the step"


class Side(Protocol):
    """A released step."""

    def window(self, pairs: list[Given], /) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is compared.

    `theirs`: READY, ONLINE -> the released step. It is that of the full script, or, where a LoRA
    trains, that of diffusers' LoRA script. `rows`: images of a pass of ours; None is all.
    """

    found: Networks
    theirs: Mapping[str, Side]
    pairs: Pairs
    nets: Nets
    rows: int | None = None

    @property
    def unet(self) -> Any:
        return self.found.unet

    def ours(self) -> float:
        """Sample the cached posteriors and accumulate the gradient of all pairs."""
        pairs = self.pairs
        noise = pairs.draws.normal("bench", tuple(pairs.std.shape[2:]), images=2).to(pairs.std)
        batch = replace(pairs.window, latents=pairs.window.latents + pairs.std * noise)
        objective = diffusion_dpo(Toolkit(schedule=self.found.schedule), beta=BETA)
        loss = accumulate(objective, self.nets, batch, pairs.draws, rows_per_pass=self.rows)
        return float(loss.value)

    def ways(self) -> dict[str, Callable[[], float]]:
        def way(side: Side) -> Callable[[], float]:
            return lambda: side.window(self.pairs.given)

        return {name: way(side) for name, side in self.theirs.items()} | {"diffpref": self.ours}


def make(
    model: str,
    adapter: str,
    px: int,
    pairs: int,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    rows: int | None = None,
) -> Bench:
    """Build both sides on random pictures.

    Args:
        model: tiny, sd15 or sdxl.
        adapter: full or lora.
        px: side of the pictures.
        pairs: of an optimizer step.
        device: where to.
        dtype: what passes compute in, over float32 weights.
        rows: images of a pass of ours.
    """
    found = networks(model, adapter, device, dtype)

    def side(*, cached: bool) -> Side:
        common: dict[str, Any] = {
            "unet": found.unet,
            "vae": found.vae,
            "encode": found.encode,
            "alphas": found.schedule.abar.float().to(device),
            "autocast": found.casting,
            "beta": BETA,
            "cached": cached,
        }
        if found.reference is None:
            return DiffusersLora(**common)
        return Official(**common, reference=found.reference)

    return Bench(
        found=found,
        theirs={ONLINE: side(cached=False), READY: side(cached=True)},
        pairs=random_pairs(found, px, pairs),
        nets=found.nets(),
        rows=rows,
    )
