"""Pictures of lines and dots with axes, as plain geometry for an HTML template."""

from collections.abc import Sequence
from dataclasses import dataclass

from diffpref.evaluate.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Tick, nice_ticks

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One named series in data coordinates: a line through its points, or loose dots."""

    name: str
    points: Points
    dots: bool = False
    faint: bool = False


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A curve in the picture's units; `line` is for a polyline, `dots` are centres."""

    name: str
    tone: int
    line: str
    dots: tuple[tuple[str, str], ...]
    last: str
    faint: bool


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture ready to print; `guide` is a dashed line: x1, y1, x2, y2."""

    title: str
    about: str
    drawn: tuple[Drawn, ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    guide: tuple[str, ...]


def figure(
    title: str,
    about: str,
    curves: Sequence[Curve],
    *,
    guide: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> Figure:
    """Return the picture of curves that have at least one point between them.

    Args:
        title: what it is.
        about: how to read it.
        curves: at most four have colours of their own.
        guide: two ends of a dashed line, in data coordinates.
    """
    points = [point for curve in curves for point in curve.points] + list(guide or ())
    box = _Box.around(points)
    return Figure(
        title=title,
        about=about,
        drawn=tuple(_drawn(curve, number, box) for number, curve in enumerate(curves)),
        x=tuple(Tick(at=box.x(v), text=number(v)) for v in nice_ticks(box.left, box.right)),
        y=tuple(Tick(at=box.y(v), text=number(v)) for v in nice_ticks(box.low, box.high)),
        guide=tuple(text for end in guide for text in box.at(end)) if guide else (),
    )


def number(value: float) -> str:
    """Return three digits with a true minus sign."""
    return f"{value:.3g}".replace("-", "\u2212")


@dataclass(frozen=True, kw_only=True)
class _Box:
    left: float
    right: float
    low: float
    high: float

    @classmethod
    def around(cls, points: Points) -> "_Box":
        xs, ys = [x for x, _ in points], [y for _, y in points]
        room = 0.06 * (max(ys) - min(ys)) or max(abs(max(ys)), 1e-6) * 0.1
        return cls(left=min(xs), right=max(xs), low=min(ys) - room, high=max(ys) + room)

    def x(self, value: float) -> float:
        span = (self.right - self.left) or 1.0
        return LEFT + (value - self.left) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return (
            HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)
        )

    def at(self, point: tuple[float, float]) -> tuple[str, str]:
        return f"{self.x(point[0]):.1f}", f"{self.y(point[1]):.1f}"


def _drawn(curve: Curve, place: int, box: _Box) -> Drawn:
    placed = tuple(box.at(point) for point in curve.points)
    return Drawn(
        name=curve.name,
        tone=place % 4,
        line="" if curve.dots else " ".join(",".join(each) for each in placed),
        dots=placed if curve.dots else (),
        last="" if curve.dots else number(curve.points[-1][1]),
        faint=curve.faint,
    )
