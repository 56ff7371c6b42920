"""A histogram as plain geometry: what a template turns into inline SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from diffpref.evaluate.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Tick, nice_ticks

FEWEST, MOST = 5, 40
"""Bars of a histogram."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar in the picture's units, how many values it stands for, and from where to where."""

    x: float
    y: float
    width: float
    height: float
    count: int
    about: str


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Bars, marks below them and beside them."""

    bars: tuple[Bar, ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]


def histogram(values: Sequence[float]) -> Histogram | None:
    """Return the histogram of finite values, about sqrt(n) bars; None without any."""
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return None
    low, high = min(values), max(values)
    if low == high:
        room = abs(low) * 0.05 or 0.5
        low, high = low - room, high + room
    size = min(MOST, max(FEWEST, math.isqrt(len(values))))
    counts = [0] * size
    for value in values:
        counts[min(size - 1, int((value - low) / (high - low) * size))] += 1
    top = max(counts)
    whole = [value for value in nice_ticks(0.0, float(top)) if value.is_integer()]
    return Histogram(
        bars=tuple(_bar(n, count, top, (low, high), size) for n, count in enumerate(counts)),
        x=tuple(Tick(at=_x(v, low, high), text=f"{v:.4g}") for v in nice_ticks(low, high)),
        y=tuple(Tick(at=_y(value, top), text=f"{value:g}") for value in whole),
    )


def _bar(number: int, count: int, top: int, span: tuple[float, float], size: int) -> Bar:
    low, high = span
    start, end = (low + n * (high - low) / size for n in (number, number + 1))
    left, right = _x(start, low, high), _x(end, low, high)
    y = _y(float(count), top)
    return Bar(
        x=left,
        y=y,
        width=max(right - left - 1, 1.0),
        height=HEIGHT - BOTTOM - y,
        count=count,
        about=f"{start:.4g} to {end:.4g}",
    )


def _x(value: float, low: float, high: float) -> float:
    return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def _y(count: float, top: int) -> float:
    return HEIGHT - BOTTOM - count / top * (HEIGHT - TOP - BOTTOM)
