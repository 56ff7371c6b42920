"""What a method asks of the UNet, counted."""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.catalogue import build_objective, find_method
from diffpref.draws import Draws
from diffpref.objective import PreferenceObjective
from diffpref.schedule import scaled_linear
from diffpref.toolkit import Toolkit
from diffpref.types import Conditioning, Embedder, Latents, Nets, PreferenceBatch, Steps

PROMPTS = 100
IMAGES_OF = {"unpaired": 1, "lists": 4}
PER = {"unpaired": "image", "lists": "list of 4"}


def cost(name: str) -> dict[str, object]:
    """Return what a method asks of the UNet per pair (or image, or list of four), at its defaults.

    Counted by running the method once on stand-in networks, over steps spread evenly.

    Returns:
        per: what the numbers are for; without_gradient, with_gradient: images the UNet is run on;
        forwards: their sum in forward passes, a backward counting as two.
    """
    method = find_method(name)
    images = IMAGES_OF.get(method.data, 2)
    objective = build_objective(name, Toolkit(schedule=scaled_linear(), embedder=_echo_of), {}, {})
    if isinstance(objective, PreferenceObjective):
        grid = torch.arange(PROMPTS) * objective.length // PROMPTS

        def spread(draws: Draws, length: int) -> Int[Tensor, " b"]:
            del draws, length
            return grid

        objective = replace(objective, timesteps=spread)
    counted = {True: 0, False: 0}

    def net(x: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        del t, cond
        counted[torch.is_grad_enabled()] += len(x)
        return x * weight

    weight = torch.ones((), requires_grad=True)
    batch = PreferenceBatch(
        latents=torch.zeros(PROMPTS, images, 1, 1, 1),
        cond=Conditioning(text=torch.zeros(PROMPTS, 1, 1)),
        score=torch.linspace(1, 0, images).expand(PROMPTS, images),
        positions=torch.arange(PROMPTS),
    )
    nets = Nets(policy=net, reference=net if method.reference == "needed" else None)
    with torch.no_grad():
        point = objective.draw(nets, batch, Draws(0, batch.positions))
        if nets.reference is not None:
            objective.measure(nets.reference, point)
    objective.measure(nets.policy, point)
    bare, graded = counted[False] / PROMPTS, counted[True] / PROMPTS
    return {
        "per": PER.get(method.data, "pair"),
        "without_gradient": round(bare, 2),
        "with_gradient": round(graded, 2),
        "forwards": round(bare + 3 * graded, 2),
    }


def _echo_of(layer: str) -> Embedder:
    """Stand for a feature network, whose passes are not the UNet's."""
    del layer

    def echo(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        del t, cond
        return x_t

    return echo
