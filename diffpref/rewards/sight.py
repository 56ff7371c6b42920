"""What a scorer does to a picture before its network sees it, exactly and smoothly."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from diffpref.rewards.frames import Box, Frame, Framing

Pixels = Float[Tensor, "n 3 y x"]
Picture = Float[Tensor, "3 y x"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Resample = Literal["pillow", "antialias", "plain"]
"""pillow: 8-bit, always antialiased; antialias and plain: on floats, with and without it."""


@runtime_checkable
class Sight(Protocol):
    """The way from pixels in [0, 1] to what a network reads.

    reference: one picture as the published code prepares it.
    smooth: several of one size, differentiable in the pixels.
    """

    @property
    def id(self) -> str: ...

    def reference(self, picture: Picture, /) -> Tensor: ...

    def smooth(self, pixels: Pixels, /) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Framed:
    """Resize bicubically, cut or fill, normalise per channel.

    With `resample` pillow the reference path rounds pixels to 8 bits, as a saved picture has them,
    and the smooth path differs from it by rounding: 0.3 levels of 255 on average, at most 2. The
    other two are smooth already and, as in the code they stand for, do not clamp the overshoot of
    the resampling; with them both paths are one. `fill` is the colour beyond the picture, before
    normalisation.
    """

    id: str
    framing: Framing
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    resample: Resample = "pillow"
    clamp: bool = True
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def reference(self, picture: Picture, /) -> Float[Tensor, "3 v u"]:
        if self.resample != "pillow":
            return self.smooth(picture[None])[0]
        frame = self.framing(*picture.shape[-2:])
        bytes_ = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
        if frame.canvas is not None:
            bytes_ = window(bytes_[None], frame.canvas, [round(255 * c) for c in self.fill])[0]
        return self._finish(_pillow(bytes_, frame.size).float()[None] / 255, frame)[0]

    def smooth(self, pixels: Pixels, /) -> Float[Tensor, "n 3 v u"]:
        frame, image = self.framing(*pixels.shape[-2:]), pixels.float()
        if frame.canvas is not None:
            image = window(image, frame.canvas, self.fill)
        if tuple(image.shape[-2:]) != frame.size:
            antialias = self.resample != "plain"
            image = functional.interpolate(
                image, size=frame.size, mode="bicubic", antialias=antialias
            )
        return self._finish(image.clamp(0, 1) if self.clamp else image, frame)

    def _finish(self, image: Pixels, frame: Frame) -> Float[Tensor, "n 3 v u"]:
        image = window(image, frame.window, self.fill)
        return (image - _channels(self.mean, image)) / _channels(self.std, image)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A sight of one function, for scorers that read pixels as they are or in their own way."""

    id: str
    look: Callable[[Pixels], Tensor]

    def reference(self, picture: Picture, /) -> Tensor:
        return self.look(picture[None])[0]

    def smooth(self, pixels: Pixels, /) -> Tensor:
        return self.look(pixels)


def window(image: Tensor, box: Box, fill: "tuple[float, ...] | list[int]") -> Tensor:
    """Return the box of [n 3 y x], filled where it reaches beyond the picture."""
    top, left, height, width = box
    y, x = image.shape[-2:]
    if (top, left, height, width) == (0, 0, y, x):
        return image
    inner = image[..., max(top, 0) : top + height, max(left, 0) : left + width]
    above, before = max(-top, 0), max(-left, 0)
    below, after = height - above - inner.shape[-2], width - before - inner.shape[-1]
    if not (above or before or below or after):
        return inner
    colour = torch.tensor(fill, device=image.device).to(image.dtype)[:, None, None]
    edges = (before, after, above, below)
    inside = functional.pad(torch.ones_like(inner[:1, :1]), edges)
    return functional.pad(inner, edges) + (1 - inside) * colour


def round_to_bytes(pixels: Pixels) -> Pixels:
    """Round to 8 bits, passing the gradient straight through."""
    return pixels + ((pixels.clamp(0, 1) * 255).round() / 255 - pixels).detach()


def _pillow(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(picture.shape[-2:]) == size:
        return picture
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, 3).permute(2, 0, 1)


def _channels(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device)[:, None, None]
