"""What a model's images are measured by, besides the oracle and prompt fidelity."""

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.world.taste import attributes, luma

Images = Float[Tensor, "n 3 y x"]


def untouched(images: Images) -> Float[Tensor, "n 3"]:
    """Return image statistics that no person of the world has a taste about.

    Green against magenta, the luma of the upper half minus the lower's, and of the left half
    minus the right's (symmetry is about the size of such a difference, not its sign).
    """
    green = images[:, 1].mean(dim=(1, 2)) - images[:, [0, 2]].mean(dim=(1, 2, 3))
    light = luma(images)
    side = images.shape[-1] // 2
    down = light[:, :side].mean(dim=(1, 2)) - light[:, side:].mean(dim=(1, 2))
    across = light[:, :, :side].mean(dim=(1, 2)) - light[:, :, side:].mean(dim=(1, 2))
    return torch.stack([green, down, across], dim=1)


def drift(images: Images, base: Images) -> float:
    """Return how far the untouched statistics moved.

    Equation:
        mean over statistics of | mean(images) - mean(base) | / std(base)
    """
    ours, theirs = untouched(images), untouched(base)
    return float(((ours.mean(dim=0) - theirs.mean(dim=0)).abs() / theirs.std(dim=0)).mean())


def diversity(images: Images) -> float:
    """Return the mean Euclidean distance of two different images in the oracle's attributes."""
    return float(torch.pdist(attributes(images).double()).mean())
