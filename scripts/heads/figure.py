"""Draws what heads found of the bundled people's tastes, beside the truth.

One panel for each feature set, one dot for each person and attribute: how a person's weight differs
from everyone's mean, in truth (across) and as the head shows it (up).
"""

from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diffpref.io import png_bytes

HEAD, VOTES, SEED = "pal-b", 450, 0
SIDE, GAP, TOP, REACH = 300, 20, 44, 2.0
INK, PALE, BLUE = (40, 40, 40), (215, 215, 215), (38, 99, 168)


def personal(rows: list[list[float]]) -> Tensor:
    """Return what distinguishes people, of all people and attributes in one row."""
    table = torch.tensor(rows)
    return (table - table.mean(dim=0)).flatten()


def panel(pen: ImageDraw.ImageDraw, left: int, found: dict[str, Any]) -> None:
    """Draw one feature set."""
    font, taste = ImageFont.load_default(13), found["taste"]
    told = f"{found['features']}: {taste['personal']:.2f}"
    pen.text((left, 6), told, INK, font)
    pen.text((left, 24), f"expected accuracy {found['known']:.3f}", INK, font)
    pen.rectangle([left, TOP, left + SIDE, TOP + SIDE], outline=PALE)
    pen.line([(left, TOP + SIDE), (left + SIDE, TOP)], PALE)
    for true, shown in zip(personal(taste["true"]), personal(taste["shown"]), strict=True):
        x, y = (float(each.clamp(-REACH, REACH)) / (2 * REACH) + 0.5 for each in (true, shown))
        at = left + x * SIDE, TOP + (1 - y) * SIDE
        pen.ellipse([at[0] - 1.5, at[1] - 1.5, at[0] + 1.5, at[1] + 1.5], BLUE)


def draw(polled: list[dict[str, Any]]) -> bytes:
    """Return the figure as a PNG."""
    which = [
        each
        for each in polled
        if (each["head"], each["votes"], each["seed"]) == (HEAD, VOTES, SEED)
    ]
    size = GAP + len(which) * (SIDE + GAP), TOP + SIDE + GAP
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    for place, found in enumerate(which):
        panel(pen, GAP + place * (SIDE + GAP), found)
    return png_bytes(image, {"what": f"personal taste, {HEAD}, {VOTES} votes a person"})
