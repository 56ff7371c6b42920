"""Scorers without weights: attributes of the pixels, and the size of the JPEG they make.

    brightness, warmth, colourfulness, contrast, edge-energy, coverage, symmetry, centring:
        the measures of `diffpref.world.taste`, unbounded, on pictures of any size
    jpeg-size = -len(JPEG of quality 95) / 1000, as DDPO's compressibility (2305.13301)

They are for tests, demonstrations and as members of an ensemble: alone, a model that follows one
soon leaves everything else behind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import torch
from torch import Tensor

from diffpref.rewards.cards import SCORERS
from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.pictures import AS_IT_IS, pil_of
from diffpref.rewards.sight import Pixels, Seen
from diffpref.types import PerRow
from diffpref.world.taste import MEASURES

QUALITY = 95

Measure = Callable[[Pixels], PerRow]


@dataclass(frozen=True, kw_only=True)
class PixelModel:
    """A function of the pixels as they are; the prompt is ignored."""

    info: ScorerInfo
    measure: Measure
    sight: Seen = AS_IT_IS

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        del prompts
        return self.measure(seen)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "PixelModel":
        """Return itself: it computes where the pixels are."""
        del device, dtype
        return self


def jpeg_size(pixels: Pixels) -> PerRow:
    """Return minus the size of each picture's JPEG, in units of 1000 bytes."""
    return torch.tensor([-_jpeg_length(picture) / 1000 for picture in pixels])


def _jpeg_length(picture: Tensor) -> int:
    buffer = BytesIO()
    pil_of(picture).save(buffer, format="JPEG", quality=QUALITY)
    return buffer.tell()


def _load(name: str, measure: Measure, options: LoadOptions) -> PixelModel:
    options.refuse_weights(name)
    return PixelModel(info=info_of(SCORERS[name], preprocess_id=AS_IT_IS.id), measure=measure)


load_jpeg_size = partial(_load, "jpeg-size", jpeg_size)
load_brightness = partial(_load, "brightness", MEASURES["luminance"])
load_warmth = partial(_load, "warmth", MEASURES["warmth"])
load_colourfulness = partial(_load, "colourfulness", MEASURES["colourfulness"])
load_contrast = partial(_load, "contrast", MEASURES["contrast"])
load_edge_energy = partial(_load, "edge-energy", MEASURES["edge_energy"])
load_coverage = partial(_load, "coverage", MEASURES["coverage"])
load_symmetry = partial(_load, "symmetry", MEASURES["symmetry"])
load_centring = partial(_load, "centring", MEASURES["centring"])
