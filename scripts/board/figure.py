"""The leaderboard as a picture: win rate over base with its interval, one line per row."""

from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from diffpref.io import png_bytes

LEFT, RIGHT, TOP, LINE, WIDTH = 230, 40, 46, 20, 900
INK, PALE, BLUE, ORANGE = (40, 40, 40), (215, 215, 215), (38, 99, 168), (200, 110, 30)


def draw(table: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return a PNG: methods in blue, ablations in orange, best first."""
    names = sorted(table, key=lambda name: -table[name]["vs_base"]["rate"])
    low = min([0.4, *(row["vs_base"]["low"] for row in table.values())])
    image = Image.new("RGB", (WIDTH, TOP + LINE * len(names) + 20), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)

    def x(rate: float) -> float:
        return LEFT + (rate - low) / (1 - low) * (WIDTH - LEFT - RIGHT)

    pen.text((LEFT, 6), "oracle win rate over the base, held-out prompts", INK, font)
    for tenth in range(int(low * 10), 11):
        rate = tenth / 10
        if rate >= low:
            pen.line(
                [(x(rate), TOP - 6), (x(rate), image.height - 14)], INK if tenth == 5 else PALE
            )
            pen.text((x(rate) - 8, TOP - 22), f"{rate:.1f}", INK, font)
    for place, name in enumerate(names):
        row, y = table[name]["vs_base"], TOP + LINE * place + LINE // 2
        colour = BLUE if table[name]["group"] == "method" else ORANGE
        pen.text((8, y - 8), name, INK, font)
        pen.line([(x(row["low"]), y), (x(row["high"]), y)], colour, 2)
        at = x(row["rate"])
        pen.ellipse([(at - 4, y - 4), (at + 4, y + 4)], colour)
    return png_bytes(image, {"what": "leaderboard"})
