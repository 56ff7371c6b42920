"""Images and prompts as a user has them -> pixels in [0, 1] and one prompt per image."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diffpref.errors import DataError
from diffpref.io import BadImage, ImageCode, open_image, rgb_image

PixelRange = Literal["unit", "signed"]
SLACK = 0.01
"""How far beyond its range a float image may reach: resampling overshoots a little."""

AnyImage = Image.Image | Path | str | bytes | np.ndarray | Tensor

HINTS = MappingProxyType(
    {
        ImageCode.MISSING: "check the path",
        ImageCode.NOT_A_FILE: "name a file; `diffpref score` also takes folders",
        ImageCode.UNREADABLE: "check its permissions",
        ImageCode.EMPTY: "copy or make the file again",
    }
)
"""What to do about a file that no conversion mends."""


def as_sequence(images: AnyImage | Iterable[AnyImage]) -> Sequence[AnyImage]:
    """Return one image or several as a sequence; nothing is opened.

    Args:
        images: one image or several: PIL images, paths, encoded bytes, HWC or NHWC arrays, CHW
            or NCHW tensors; both uint8 0..255 or float.
    """
    if isinstance(images, Image.Image | Path | str | bytes):
        return [images]
    if isinstance(images, np.ndarray | Tensor):
        return list(images[None] if images.ndim == 3 else images)
    return images if isinstance(images, Sequence) else list(images)


def to_pixels(
    images: AnyImage | Iterable[AnyImage], *, pixel_range: PixelRange = "unit"
) -> list[Float[Tensor, "3 y x"]]:
    """Return every image as float32 pixels in [0, 1]; sizes may differ.

    Raises:
        DataError: names the image and what is wrong with it.
    """
    pictures = as_sequence(images)
    return [one_picture(image, index, pixel_range) for index, image in enumerate(pictures)]


def match_prompts(
    prompts: str | Sequence[str], images: int, *, images_per_prompt: int = 1
) -> tuple[str, ...]:
    """Return one prompt per image; a single string is every image's.

    Raises:
        DataError: the numbers do not match; several images per prompt must be said.
    """
    if isinstance(prompts, str):
        return (prompts,) * images
    if len(prompts) * images_per_prompt != images:
        often, rest = divmod(images, len(prompts)) if prompts else (0, 1)
        hint = (
            f"pass images_per_prompt={often}"
            if rest == 0
            else "pass one prompt per image, or one string for all of them"
        )
        what = f"{len(prompts)} prompts for {images} images"
        if images_per_prompt != 1:
            what += f" with images_per_prompt={images_per_prompt}"
        raise DataError(what, where="prompts", hint=hint)
    return tuple(prompt for prompt in prompts for _ in range(images_per_prompt))


def one_picture(
    image: AnyImage, index: int, pixel_range: PixelRange = "unit"
) -> Float[Tensor, "3 y x"]:
    """Return an image as float32 pixels in [0, 1].

    Args:
        image: in any form `as_sequence` takes.
        index: its number, for messages.
        pixel_range: what float tensors span: unit [0, 1] or signed [-1, 1].

    Raises:
        DataError: names the image and what is wrong with it.
    """
    where = f"images[{index}]"
    if isinstance(image, Tensor):
        return _from_tensor(image, where, pixel_range)
    if isinstance(image, np.ndarray):
        known = image.dtype == np.uint8 or image.dtype.kind == "f"
        if not known or image.ndim != 3 or image.shape[2] != 3:
            found = f"an array of shape {image.shape} and type {image.dtype}"
            hint = "pass height x width x 3 of uint8, or of floats in [0, 1]"
            raise DataError(found, where=where, hint=hint)
        return _from_tensor(torch.from_numpy(image.copy()).permute(2, 0, 1), where, pixel_range)
    if not isinstance(image, Image.Image | Path | str | bytes):
        what = f"a {type(image).__name__} is no image"
        hint = "pass a path, bytes, a PIL image, an array or a tensor"
        raise DataError(what, where=where, hint=hint)
    try:
        if isinstance(image, Image.Image):
            return _from_pil(rgb_image(image))
        return _from_pil(open_image(image, where=_name(image, where)))
    except BadImage as error:
        hint = HINTS.get(error.code, "convert it to an 8-bit RGB image")
        raise DataError(error.reason, where=error.where or where, hint=hint) from error


def _name(image: Path | str | bytes, where: str) -> str:
    return where if isinstance(image, bytes) else f"{where} {Path(image).name}"


def _from_pil(image: Image.Image) -> Float[Tensor, "3 y x"]:
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, 3).permute(2, 0, 1).float() / 255


def _from_tensor(image: Tensor, where: str, pixel_range: PixelRange) -> Float[Tensor, "3 y x"]:
    if image.ndim != 3 or image.shape[0] != 3:
        hint = "pass 3 x height x width, or several of them stacked"
        raise DataError(f"a tensor of shape {tuple(image.shape)}", where=where, hint=hint)
    if image.dtype == torch.uint8:
        return image.float() / 255
    if not image.is_floating_point():
        raise DataError(f"a tensor of {image.dtype}", where=where, hint="pass uint8 or floats")
    unit = (image.float() + 1) / 2 if pixel_range == "signed" else image.float()
    low, high = float(unit.min()), float(unit.max())
    if not (low >= -SLACK and high <= 1 + SLACK):
        seen = f"values from {float(image.min()):.3g} to {float(image.max()):.3g}"
        hint = "pixels lie in [0, 1]"
        if low >= -1 - SLACK and high <= 1 + SLACK:
            hint = "this looks like [-1, 1]: pass pixel_range='signed'"
        elif low >= 0 and high <= 255:
            hint = "this looks like 0..255: pass uint8, or divide by 255"
        raise DataError(seen, where=where, hint=hint)
    return unit.clamp(0, 1)
