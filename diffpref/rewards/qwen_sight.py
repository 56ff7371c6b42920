"""What Qwen-VL models see: pictures of any proportions near a fixed area, cut into patches."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.errors import DataError
from diffpref.rewards.frames import Frame, Framing
from diffpref.rewards.sight import Pixels

MOST_STRETCHED = 200
"""Longer side over shorter beyond which Qwen's own resizing refuses a picture."""


def near_area(factor: int, least: int, most: int) -> Framing:
    """Bring both sides to multiples of `factor` and the area between `least` and `most` pixels.

    Sides are rounded to the nearest multiple; if the area is then too large (small), the sides of
    the picture scaled to exactly `most` (`least`) are rounded down (up), in this order of floating
    point operations. With least = most the area is near it, not always it.

    Args:
        factor: a patch times the merging of patches.
        least: pixels.
        most: pixels.

    Raises:
        DataError: (by the framing) one side is more than 200 times the other.
    """

    def frame(height: int, width: int) -> Frame:
        _refuse_stripes(height, width)
        sides = (round(height / factor) * factor, round(width / factor) * factor)
        if sides[0] * sides[1] > most:
            scale = math.sqrt(height * width / most)
            cut = [math.floor(side / scale / factor) * factor for side in (height, width)]
            sides = (max(factor, cut[0]), max(factor, cut[1]))
        elif sides[0] * sides[1] < least:
            scale = math.sqrt(least / (height * width))
            grown = [math.ceil(side * scale / factor) * factor for side in (height, width)]
            sides = (grown[0], grown[1])
        return Frame(size=sides, window=(0, 0, *sides))

    return frame


@dataclass(frozen=True, kw_only=True)
class Patching:
    """How a vision tower cuts pictures.

    Attributes:
        side: of a patch, in pixels.
        merge: patches a side of one token of the language model.
        frames: pictures in time of one patch; a still one is repeated.
    """

    side: int
    merge: int
    frames: int

    @property
    def factor(self) -> int:
        """What both sides of a picture must be a multiple of."""
        return self.side * self.merge

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return a picture's tokens down and across."""
        return height // self.factor, width // self.factor

    def cut(self, seen: Pixels) -> tuple[Float[Tensor, "p d"], Int[Tensor, "n 3"]]:
        """Return flat patches of all pictures, one after another, and (1, patches down, across).

        Patches of one token follow each other; within one the axes are channel, time, y, x.
        """
        count, _, height, width = seen.shape
        down, across = self.grid(height, width)
        tiles = seen.reshape(count, 3, down, self.merge, self.side, across, self.merge, self.side)
        # n, tokens down, tokens across, patches down, patches across, channel, y, x
        tiles = tiles.permute(0, 2, 5, 3, 6, 1, 4, 7)
        still = tiles[..., None, :, :].expand(*tiles.shape[:6], self.frames, *tiles.shape[6:])
        size = torch.tensor([[1, down * self.merge, across * self.merge]], device=seen.device)
        return still.flatten(5).flatten(0, 4), size.expand(count, 3)


def _refuse_stripes(height: int, width: int) -> None:
    if max(height, width) > MOST_STRETCHED * min(height, width):
        what = f"a picture of {width} x {height} pixels is a stripe"
        hint = f"one side may be at most {MOST_STRETCHED} times the other: crop it"
        raise DataError(what, where="image", hint=hint)
