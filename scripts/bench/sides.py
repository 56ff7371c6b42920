"""Both sides of the comparison, on the same weights, pictures, noise and t."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

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
    trains, that of diffusers' LoRA script.
    """

    found: Networks
    theirs: Mapping[str, Side]
    pairs: Pairs
    nets: Nets

    @property
    def unet(self) -> Any:
        return self.found.unet

    def ours(self) -> float:
        """Sample the cached posteriors and accumulate the gradient of all pairs in one pass."""
        pairs = self.pairs
        noise = pairs.draws.normal("bench", tuple(pairs.std.shape[2:]), images=2)
        batch = replace(pairs.window, latents=pairs.window.latents + pairs.std * noise)
        objective = diffusion_dpo(Toolkit(schedule=self.found.schedule), beta=BETA)
        return float(accumulate(objective, self.nets, batch, pairs.draws).value)

    def ways(self) -> dict[str, Callable[[], float]]:
        def way(side: Side) -> Callable[[], float]:
            return lambda: side.window(self.pairs.given)

        return {name: way(side) for name, side in self.theirs.items()} | {"diffpref": self.ours}


def make(model: str, adapter: str, px: int, pairs: int) -> Bench:
    """Build both sides on random pictures: `tiny` or `sd15`; `full` or `lora`."""
    found = networks(model, adapter)

    def side(*, cached: bool) -> Side:
        common: dict[str, Any] = {
            "unet": found.unet,
            "vae": found.vae,
            "encoder": found.encoder,
            "alphas": found.schedule.abar.float(),
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
    )
