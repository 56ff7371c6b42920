"""What a model may change about its images without pleasing or displeasing anyone of the world."""

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.world.taste import Images, luma


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
