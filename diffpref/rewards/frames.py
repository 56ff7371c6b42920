"""Where a picture of any size is resized to, and which window of the result a network sees."""

from collections.abc import Callable
from dataclasses import dataclass

Box = tuple[int, int, int, int]
"""(top, left, height, width) in pixels; it may reach beyond the picture, which is then filled."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Fill `canvas` around the picture, resize to `size` (height, width), keep `window`."""

    size: tuple[int, int]
    window: Box
    canvas: Box | None = None


Framing = Callable[[int, int], Frame]
"""(height, width) of a picture -> its frame."""


def shortest(side: int, *, floor: bool = False) -> Framing:
    """Bring the shorter edge to `side` and keep the centre square.

    The longer edge is cut to a whole number, int(side x long / short). The centre is rounded half
    to even as torchvision, open_clip and OpenAI do; `floor` rounds down as transformers does. They
    differ by one pixel where the excess is 3 modulo 4.
    """

    def frame(height: int, width: int) -> Frame:
        short = min(height, width)
        size = (int(side * height / short), int(side * width / short))
        size = (side if height == short else size[0], side if width == short else size[1])
        return Frame(size=size, window=_centre(size, side, floor=floor))

    return frame


def longest(side: int) -> Framing:
    """Bring the longer edge to `side` and fill the rest of the square, as HPSv2 does.

    The released transform forgets to fill a picture whose longer edge already is `side`; here it
    is filled as well.
    """

    def frame(height: int, width: int) -> Frame:
        scale = side / max(height, width)
        size = (round(height * scale), round(width * scale))
        top, left = -((side - size[0]) // 2), -((side - size[1]) // 2)
        return Frame(size=size, window=(top, left, side, side))

    return frame


def squash(side: int) -> Framing:
    """Stretch to the square, whatever the picture's proportions."""
    return lambda _height, _width: Frame(size=(side, side), window=(0, 0, side, side))


def square_canvas(side: int) -> Framing:
    """Centre the picture on a square canvas, then resize that, as VQAScore does."""

    def frame(height: int, width: int) -> Frame:
        edge = max(height, width)
        canvas = (-((edge - height) // 2), -((edge - width) // 2), edge, edge)
        return Frame(size=(side, side), window=(0, 0, side, side), canvas=canvas)

    return frame


def as_it_is(height: int, width: int) -> Frame:
    """Keep the picture."""
    return Frame(size=(height, width), window=(0, 0, height, width))


def _centre(size: tuple[int, int], side: int, *, floor: bool) -> Box:
    gaps = (size[0] - side, size[1] - side)
    if floor:
        return (gaps[0] // 2, gaps[1] // 2, side, side)
    return (round(gaps[0] / 2), round(gaps[1] / 2), side, side)
