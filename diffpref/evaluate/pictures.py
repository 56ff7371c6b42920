"""Pixels as files: PIL images, PNG and WebP bytes, data URIs; no metadata but what is given."""

from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from diffpref.io import png_bytes

SMALL = 128
"""Sides up to this many pixels are kept lossless and shown with sharp pixels."""


def to_bytes(pixels: Float[Tensor, "*n 3 y x"]) -> UInt8[Tensor, "*n 3 y x"]:
    """Return pixels in [0, 1] as 0..255, rounded to nearest."""
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8)


def to_picture(pixels: UInt8[Tensor, "3 y x"]) -> Image.Image:
    """Return a PIL image of uint8 pixels."""
    height, width = pixels.shape[-2:]
    data = pixels.permute(1, 2, 0).contiguous().cpu().numpy().tobytes()
    return Image.frombytes("RGB", (width, height), data)


def png(pixels: UInt8[Tensor, "3 y x"], texts: Mapping[str, str] | None = None) -> bytes:
    """Return a PNG that carries named texts."""
    return png_bytes(to_picture(pixels), dict(texts or {}))


def data_uri(pixels: UInt8[Tensor, "3 y x"]) -> str:
    """Return an image inside a URI: PNG when small, else WebP of quality 88."""
    return picture_uri(to_picture(pixels))


def picture_uri(picture: Image.Image, *, most: int | None = None) -> str:
    """Return a picture inside a URI as `data_uri` does, its longer side at most `most` pixels."""
    if most is not None and max(picture.size) > most:
        picture = picture.copy()
        picture.thumbnail((most, most), Image.Resampling.LANCZOS)
    if max(picture.size) <= SMALL:
        return "data:image/png;base64," + b64encode(png_bytes(picture, {})).decode("ascii")
    buffer = BytesIO()
    picture.save(buffer, format="WEBP", quality=88)
    return "data:image/webp;base64," + b64encode(buffer.getvalue()).decode("ascii")
