"""Training curves as plain geometry: what the report's template turns into inline SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 18.0, 10.0, 26.0
MOST_POINTS = 600
"""Longer curves are thinned by averaging neighbours."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve: its name, colour class 0..3, the points of a polyline, and its last value."""

    name: str
    tone: int
    points: str
    last: str
    faint: bool = False


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on an axis: where, in the picture's units, and what it says."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture with axes."""

    title: str
    about: str
    lines: tuple[Line, ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    rule: float | None = None


PANELS: Sequence[tuple[str, str, Sequence[tuple[str, str, bool]], float | None]] = (
    ("Loss", "mean over prompts", (("loss", "loss", False),), None),
    (
        "Implicit accuracy",
        "how often the preferred image has the higher log ratio; 0.5 is chance",
        (("implicit_accuracy", "per report", True), ("implicit_accuracy_ema", "average", False)),
        0.5,
    ),
    ("Margin", "log ratio of preferred minus other", (("margin", "margin", False),), 0.0),
    (
        "Drift",
        "log ratio to the reference; both falling means the model unlearns",
        (("winner_drift", "preferred", False), ("loser_drift", "other", False)),
        0.0,
    ),
)
"""Title, what it shows, (metric, name, faint) of each line, and a level worth a rule."""


def panels(metrics: Sequence[Mapping[str, object]]) -> list[Panel]:
    """Return the panels for which a run logged numbers; `metrics` are lines of metrics.jsonl."""
    rates = sorted({name for row in metrics for name in row if name.startswith("win_rate/")})
    wanted = [
        *PANELS,
        (
            "Win rate while training",
            "over the base, on validation prompts",
            tuple((name, name.removeprefix("win_rate/"), False) for name in rates),
            0.5,
        ),
    ]
    found = [_panel(metrics, *each) for each in wanted]
    return [panel for panel in found if panel is not None]


def series(metrics: Sequence[Mapping[str, object]], name: str) -> list[tuple[float, float]]:
    """Return (step, value) of a metric wherever it is a finite number."""
    points: list[tuple[float, float]] = []
    for row in metrics:
        step, value = row.get("step"), row.get(name)
        if _number(step) and _number(value):
            points.append((float(step), float(value)))  # pyright: ignore[reportArgumentType]
    return _thinned(points)


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return round numbers within low..high, about `count` of them."""
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((m for m in (1, 2, 5, 10) if m * power >= rough), default=10)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def _panel(
    metrics: Sequence[Mapping[str, object]],
    title: str,
    about: str,
    wanted: Sequence[tuple[str, str, bool]],
    rule: float | None,
) -> Panel | None:
    data = [(series(metrics, key), name, faint) for key, name, faint in wanted]
    data = [each for each in data if each[0]]
    if not data:
        return None
    xs = [x for points, _, _ in data for x, _ in points]
    ys = [y for points, _, _ in data for _, y in points] + ([] if rule is None else [rule])
    box = (min(xs), max(xs), *_padded(min(ys), max(ys)))
    lines = tuple(
        Line(
            name=name,
            tone=number,
            points=" ".join(f"{_x(x, box):.1f},{_y(y, box):.1f}" for x, y in points),
            last=_text(points[-1][1]),
            faint=faint,
        )
        for number, (points, name, faint) in enumerate(data)
    )
    return Panel(
        title=title,
        about=about,
        lines=lines,
        x=tuple(Tick(at=_x(v, box), text=f"{v:,.0f}") for v in nice_ticks(box[0], box[1])),
        y=tuple(Tick(at=_y(v, box), text=_text(v)) for v in nice_ticks(box[2], box[3])),
        rule=None if rule is None else _y(rule, box),
    )


def _text(value: float) -> str:
    return f"{value:.3g}".replace("-", "\u2212")


def _number(value: object) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and math.isfinite(value)  # pyright: ignore[reportArgumentType]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    size = -(-len(points) // MOST_POINTS)
    if size <= 1:
        return points
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def _padded(low: float, high: float) -> tuple[float, float]:
    room = 0.06 * (high - low) or max(abs(low), 1e-6) * 0.1
    return low - room, high + room


def _x(value: float, box: tuple[float, float, float, float]) -> float:
    span = (box[1] - box[0]) or 1.0
    return LEFT + (value - box[0]) / span * (WIDTH - LEFT - RIGHT)


def _y(value: float, box: tuple[float, float, float, float]) -> float:
    span = (box[3] - box[2]) or 1.0
    return HEIGHT - BOTTOM - (value - box[2]) / span * (HEIGHT - TOP - BOTTOM)
