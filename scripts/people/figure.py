"""The card as a picture: bounds of every row, the strength sweep, and mixtures of two people."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from diffpref.io import png_bytes
from scripts.people.words import NAMES

LEFT, TOP, LINE, SPAN = 300, 64, 26, 420
PANEL, GAP = 250, 70
INK, PALE, BLUE, ORANGE, GREY = (
    (40, 40, 40),
    (220, 220, 220),
    (38, 99, 168),
    (200, 110, 30),
    (150, 150, 150),
)
TONES = (("vs_base", GREY), ("vs_population", ORANGE), ("vs_others", BLUE))
Points = Sequence[tuple[float, float]]


def draw(whole: Mapping[str, Any]) -> bytes:
    """Return a PNG; rows that are not measured are left out."""
    rows = bars(whole)
    side = LEFT + SPAN + GAP
    height = max(TOP + LINE * len(rows) + 40, 2 * (PANEL + GAP) + 40)
    image = Image.new("RGB", (side + PANEL + 60, height), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    _rates(pen, font, rows)
    sweep, mix = whole["sweep"], whole["mix"]
    gains = [(at["strength"], at["gain"]["rate"]) for at in sweep]
    kept = [(at["strength"], at["fidelity"]) for at in sweep]
    _lines(pen, font, (side, TOP), "strength: gain (blue), fidelity", [(gains, BLUE), (kept, GREY)])
    first = [(at["share"], at["first"]["rate"]) for at in mix]
    second = [(at["share"], at["second"]["rate"]) for at in mix]
    below = (side, TOP + PANEL + GAP)
    _lines(pen, font, below, "two people mixed: gains of both", [(first, BLUE), (second, ORANGE)])
    return png_bytes(image, {"what": "people card"})


def bars(whole: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the rows of the picture: name and rates, re-ranking against everyone's choice."""
    found = [(f"adapter: {NAMES[name]}", row) for name, row in whole["adapters"].items()]
    for pool, chosen in whole["rerank"].items():
        found += [
            (f"{pool}: {NAMES[by]}", {**row, "vs_population": row["vs_everyones_choice"]})
            for by, row in chosen.items()
            if "vs_everyones_choice" in row
        ]
    return found


def _rates(pen: Any, font: Any, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    def x(rate: float) -> float:
        return LEFT + rate * SPAN

    pen.text((8, 8), "win rates, 95 % over people and prompts", INK, font)
    words = ("vs base", "vs population / everyone's choice", "vs others")
    for place, (word, (_, tone)) in enumerate(zip(words, TONES, strict=True)):
        pen.text((LEFT + (0, 80, 320)[place], 8), word, tone, font)
    for tenth in range(0, 11, 1):
        at = x(tenth / 10)
        bottom = TOP + LINE * len(rows)
        pen.line([(at, TOP - 8), (at, bottom)], INK if tenth == 5 else PALE)
        pen.text((at - 8, TOP - 26), f"{tenth / 10:.1f}", INK, font)
    for place, (name, row) in enumerate(rows):
        top = TOP + LINE * place
        pen.text((8, top + 3), name, INK, font)
        for step, (what, tone) in enumerate(TONES):
            value, y = row[what], top + 5 + 7 * step
            pen.line([(x(value["low"]), y), (x(value["high"]), y)], tone, 2)
            at = x(value["rate"])
            pen.ellipse([(at - 3, y - 3), (at + 3, y + 3)], tone)


def _lines(
    pen: Any,
    font: Any,
    corner: tuple[int, int],
    title: str,
    curves: Sequence[tuple[Points, tuple[int, int, int]]],
) -> None:
    points = [point for curve, _ in curves for point in curve]
    if not points:
        return
    left, top = corner
    most = max(x for x, _ in points) or 1.0
    low, high = min(0.0, *(y for _, y in points)), max(y for _, y in points)
    span = max(high - low, 1e-6)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return left + PANEL * point[0] / most, top + PANEL * (high - point[1]) / span

    pen.text((left, top - 40), title, INK, font)
    for tick in range(5):
        value, x = low + span * tick / 4, most * tick / 4
        y = place((0, value))[1]
        pen.line([(left, y), (left + PANEL, y)], PALE)
        pen.text((left - 44, y - 8), f"{value:+.2f}", INK, font)
        pen.text((place((x, 0))[0] - 8, top + PANEL + 6), f"{x:.3g}", INK, font)
    for curve, tone in curves:
        pen.line([place(point) for point in curve], tone, 2)
        for point in curve:
            x, y = place(point)
            pen.ellipse([(x - 3, y - 3), (x + 3, y + 3)], tone)
