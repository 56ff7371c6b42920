"""Pictures as 8-bit pixels: who they are, and as the PNG a judge receives."""

from hashlib import sha256

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from diffpref.io import png_bytes
from diffpref.rewards.sight import Picture, Seen

AS_IT_IS = Seen(id="as-it-is", look=lambda pixels: pixels)
"""The sight of scorers that read pixels of any size."""


def to_bytes(picture: Picture) -> UInt8[Tensor, "3 y x"]:
    """Return a picture in [0, 1] as 8-bit pixels on the CPU."""
    return (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)


def picture_key(picture: Picture) -> str:
    """Return the SHA-256 of a picture's size and 8-bit pixels: the same for PNG and WEBP of it."""
    pixels = to_bytes(picture)
    size = f"{pixels.shape[2]}x{pixels.shape[1]}:".encode()
    return sha256(size + pixels.permute(1, 2, 0).numpy().tobytes()).hexdigest()


def png_of(picture: Picture) -> bytes:
    """Return a picture in [0, 1] as a PNG without texts."""
    return png_bytes(pil_of(picture), {})


def pil_of(picture: Picture) -> Image.Image:
    """Return a picture in [0, 1] as an 8-bit RGB image."""
    return Image.fromarray(to_bytes(picture).permute(1, 2, 0).numpy())
