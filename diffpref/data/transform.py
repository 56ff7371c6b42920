"""Images of one prompt, resized and cropped together and never stretched."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image
import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.draws import Draws

Size = tuple[int, int]
"""(height, width) in pixels."""

LONGEST = 2.0
"""Aspect ratio of the longest bucket; longer images are cropped to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """An image's original size, its crop (top, left) after resizing, and the size of the crop.

    These are SDXL's micro-conditioning numbers (2307.01952, section 2.2).
    """

    original: Size
    crop: tuple[int, int]
    target: Size

    @property
    def numbers(self) -> tuple[int, ...]:
        return (*self.original, *self.crop, *self.target)

    @property
    def upscaled(self) -> bool:
        return self.original[0] < self.target[0] or self.original[1] < self.target[1]


def buckets(resolution: int, multiple: int) -> tuple[Size, ...]:
    """Return the sizes of about resolution x resolution pixels, widest last.

    Every side is a multiple of `multiple`, the area is at most resolution squared and the aspect
    ratio at most LONGEST; the square comes first in ties.

    Raises:
        ValueError: the resolution is no multiple of `multiple`.
    """
    if resolution < multiple or resolution % multiple:
        raise ValueError(f"data.resolution: {resolution} is not a multiple of {multiple}")
    sizes = {(resolution, resolution)}
    for height in range(multiple, resolution + 1, multiple):
        width = resolution * resolution // height // multiple * multiple
        if width <= LONGEST * height:
            sizes |= {(height, width), (width, height)}
    return tuple(sorted(sizes, key=lambda size: (_aspect(size), -size[0] * size[1])))


def pick_bucket(sizes: Sequence[Size], choices: Sequence[Size]) -> Size:
    """Return the bucket nearest to the images' mean log aspect ratio; the larger one in ties."""
    mean = sum(map(_aspect, sizes)) / len(sizes)
    return min(choices, key=lambda size: (round(abs(_aspect(size) - mean), 9), -size[0] * size[1]))


def place(
    original: Size, target: Size, at: tuple[float, float] | None = None
) -> tuple[Size, Geometry]:
    """Return the size that just covers the target, and the geometry of the crop.

    Args:
        original: size of the image.
        target: size of the crop.
        at: where the crop begins along each axis as a share [0, 1) of the room; None centres it.
    """
    scale = max(target[0] / original[0], target[1] / original[1])
    resized = (
        max(target[0], round(original[0] * scale)),
        max(target[1], round(original[1] * scale)),
    )
    room = (resized[0] - target[0], resized[1] - target[1])
    if at is None:
        crop = (room[0] // 2, room[1] // 2)
    else:
        crop = (int(at[0] * (room[0] + 1)), int(at[1] * (room[1] + 1)))
    return resized, Geometry(original=original, crop=crop, target=target)


def crop_share(seed: int, position: int) -> tuple[float, float]:
    """Return where a random crop lies; all images of a prompt share it."""
    draws = Draws(seed, torch.tensor([position]))
    return float(draws.uniform("crop_y")), float(draws.uniform("crop_x"))


def cut(
    image: PIL.Image.Image, target: Size, at: tuple[float, float] | None = None
) -> tuple[PIL.Image.Image, Geometry]:
    """Resize an image until it just covers the target, keep its aspect ratio, and crop it.

    Bilinear with anti-aliasing, as the Diffusion-DPO data were prepared.
    """
    resized, geometry = place((image.height, image.width), target, at)
    top, left = geometry.crop
    covering = image.resize((resized[1], resized[0]), PIL.Image.Resampling.BILINEAR)
    box = (left, top, left + target[1], top + target[0])
    return covering.crop(box), geometry


def cut_together(
    images: Sequence[PIL.Image.Image],
    choices: Sequence[Size],
    *,
    at: tuple[float, float] | None = None,
    flip: bool = False,
) -> list[tuple[PIL.Image.Image, Geometry]]:
    """Bring the images of one prompt to one bucket, with the same crop and the same flip.

    Args:
        images: upright RGB images of one prompt.
        choices: the buckets to choose from.
        at: see `place`.
        flip: mirror all of them; the cache never does, because a VAE's latents do not mirror.
    """
    target = pick_bucket([(image.height, image.width) for image in images], choices)
    cuts = [cut(image, target, at) for image in images]
    if not flip:
        return cuts
    mirror = PIL.Image.Transpose.FLIP_LEFT_RIGHT
    return [(image.transpose(mirror), geometry) for image, geometry in cuts]


def to_tensor(images: Sequence[PIL.Image.Image]) -> Float[Tensor, "n 3 y x"]:
    """Return images of one size as floats in [0, 1]."""
    pixels = [torch.frombuffer(bytearray(each.tobytes()), dtype=torch.uint8) for each in images]
    shape = (len(images), images[0].height, images[0].width, 3)
    return torch.stack(pixels).view(shape).permute(0, 3, 1, 2).float() / 255


def _aspect(size: Size) -> float:
    return math.log(size[1] / size[0])
