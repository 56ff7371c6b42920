"""The online board as a picture: utility against drift, and against UNet and reward calls."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from diffpref.io import png_bytes

SIDE, LEFT, TOP, BOTTOM, LEGEND = 330, 62, 34, 46, 190
INK, PALE = (40, 40, 40), (225, 225, 225)
TONES = (
    (38, 99, 168),
    (200, 110, 30),
    (60, 140, 70),
    (170, 50, 60),
    (120, 80, 160),
    (120, 90, 70),
    (205, 100, 160),
    (110, 110, 110),
    (150, 150, 30),
    (30, 150, 160),
    (0, 0, 0),
    (245, 175, 70),
    (120, 205, 130),
    (110, 170, 240),
)
PANELS = (
    ("drift", "drift of what nobody has a taste about"),
    ("unet", "UNet forward passes, in thousands"),
    ("rewards", "reward calls, in thousands"),
)
Curves = Mapping[str, Sequence[Mapping[str, float]]]


def draw(curves: Curves) -> bytes:
    """Return a PNG of three panels; each dot is a mark, each line one row."""
    width = len(PANELS) * (SIDE + LEFT) + LEGEND
    height = max(TOP + SIDE + BOTTOM, TOP + 18 * len(curves) + 20)
    image = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    gains = {
        name: [point["oracle"] - points[0]["oracle"] for point in points]
        for name, points in curves.items()
    }
    low = min((min(values) for values in gains.values()), default=0.0)
    high = max((max(values) for values in gains.values()), default=1.0)
    span = max(high - low, 1e-6)
    for place, (what, title) in enumerate(PANELS):
        left = LEFT + place * (SIDE + LEFT)
        unit = 1.0 if what == "drift" else 1000.0
        most = max((p[what] / unit for points in curves.values() for p in points), default=1.0)
        _axes(pen, font, left, ends=(low, high), most=most or 1.0, title=title)
        for number, (name, points) in enumerate(curves.items()):
            line = [
                (
                    left + SIDE * point[what] / unit / (most or 1.0),
                    TOP + SIDE * (high - value) / span,
                )
                for point, value in zip(points, gains[name], strict=True)
            ]
            tone = TONES[number % len(TONES)]
            pen.line(line, tone, 2 if number < len(TONES) else 1)
            for x, y in line:
                pen.ellipse([(x - 3, y - 3), (x + 3, y + 3)], tone)
    for number, name in enumerate(curves):
        y = TOP + 18 * number
        pen.rectangle(
            [(width - LEGEND + 14, y + 3), (width - LEGEND + 26, y + 11)],
            TONES[number % len(TONES)],
        )
        pen.text((width - LEGEND + 32, y), name, INK, font)
    return png_bytes(image, {"what": "online methods"})


def _axes(
    pen: ImageDraw.ImageDraw,
    font: "ImageFont.FreeTypeFont | ImageFont.ImageFont",
    left: int,
    *,
    ends: tuple[float, float],
    most: float,
    title: str,
) -> None:
    pen.text((left, 8), "oracle utility gained", INK, font)
    pen.text((left, TOP + SIDE + 24), title, INK, font)
    for tick in range(5):
        y = TOP + SIDE * tick / 4
        x = left + SIDE * tick / 4
        pen.line([(left, y), (left + SIDE, y)], PALE)
        pen.text((left - 46, y - 7), f"{ends[1] - (ends[1] - ends[0]) * tick / 4:+.2f}", INK, font)
        pen.text((x - 10, TOP + SIDE + 6), f"{most * tick / 4:.3g}", INK, font)
