"""Scenes -> images: anti-aliased coverage from signed distances, in closed form."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.world.scene import MAX_COUNT, SIDE, Scenes

HOLE = 0.4
"""Radius of the dot or hole in the middle of an object, relative to the object's half extent."""

AREA = torch.tensor([torch.pi, 4.0, 2.0])
"""Area of a circle, square and triangle whose half extent is one pixel."""


def coverage(
    shape: Int[Tensor, " n"], centre: Float[Tensor, "n 2"], radius: Float[Tensor, " n"]
) -> Float[Tensor, "n y x"]:
    """Return how much of each pixel a shape covers, in [0, 1].

    `centre` is the centroid in pixels (x to the right, y downwards). A square has side 2 r; a
    triangle has base and height 2 r and points upwards.
    """
    dx, dy = _offsets(centre)
    r = radius[:, None, None]
    circle = torch.hypot(dx, dy) - r
    square = torch.maximum(dx.abs(), dy.abs()) - r
    # centroid a third of the height above the base; sides have slope 2, normal (2, 1) / sqrt 5
    below = dy - 2 * r / 3
    slant = (2 * dx.abs() - dy - 4 * r / 3) / 5**0.5
    triangle = torch.maximum(below, slant)
    distance = torch.stack([circle, square, triangle], dim=1)
    own = distance.gather(1, shape[:, None, None, None].expand(-1, 1, SIDE, SIDE))[:, 0]
    return (0.5 - own).clamp(0, 1)


def disc(centre: Float[Tensor, "n 2"], radius: Float[Tensor, " n"]) -> Float[Tensor, "n y x"]:
    """Return how much of each pixel a disc covers, in [0, 1]."""
    return coverage(torch.zeros(len(radius), dtype=torch.long), centre, radius)


def dot_colour(paper: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Return the colour of the dot of a dotted object: black on light paper, white on dark."""
    light = paper.mean(dim=1, keepdim=True) > 0.4
    return torch.where(light, 0.05, 0.97).expand_as(paper)


def render(scenes: Scenes) -> Float[Tensor, "n 3 y x"]:
    """Draw the scenes: images in [0, 1], float32."""
    finish = scenes.named["finish"]
    middle = torch.where((finish == 1)[:, None], dot_colour(scenes.paper), scenes.paper)
    image = scenes.paper[:, :, None, None].expand(-1, -1, SIDE, SIDE)
    for i in range(MAX_COUNT):
        shown = (scenes.named["count"] >= i).float()[:, None, None]
        centre = scenes.centres[:, i]
        body = coverage(scenes.named["shape"], centre, scenes.radius) * shown
        hole = disc(centre, HOLE * scenes.radius) * shown * (finish > 0)[:, None, None]
        image = _over(image, scenes.ink, body)
        image = _over(image, middle, hole)
    return image.clamp(0, 1)


def _over(
    image: Float[Tensor, "n 3 y x"], colour: Float[Tensor, "n 3"], alpha: Float[Tensor, "n y x"]
) -> Float[Tensor, "n 3 y x"]:
    return image + alpha[:, None] * (colour[:, :, None, None] - image)


def _offsets(centre: Float[Tensor, "n 2"]) -> tuple[Tensor, Tensor]:
    pixel = torch.arange(SIDE, dtype=centre.dtype) + 0.5
    dx = pixel[None, None, :] - centre[:, 0, None, None]
    dy = pixel[None, :, None] - centre[:, 1, None, None]
    return torch.broadcast_tensors(dx, dy)
