"""One labelled PNG: a row per prompt and seed, a column per model."""

import unicodedata
from collections.abc import Sequence

from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diffpref.evaluate.pictures import to_picture

CELL = 160
"""Small pictures are enlarged by a whole factor to at least this many pixels."""

GAP, LINE, MARGIN = 8, 20, 16
PAPER, INK, FAINT = (255, 255, 255), (20, 24, 31), (106, 115, 130)


def grid(
    images: UInt8[Tensor, "m p s 3 y x"],
    *,
    names: Sequence[str],
    prompts: Sequence[str],
    seeds: Sequence[int],
) -> Image.Image:
    """Draw the models' images of the same prompts and seeds side by side.

    Args:
        images: by model, prompt and seed.
        names: of the models, one per column.
        prompts: one per row.
        seeds: further rows of a prompt.

    Returns:
        The picture; captions are cut to its width.
    """
    models, count, each = images.shape[:3]
    factor = max(1, -(-CELL // images.shape[-1]))
    width, height = images.shape[-1] * factor, images.shape[-2] * factor
    block = LINE + each * (height + GAP) + GAP
    head = MARGIN + LINE + GAP
    size = (2 * MARGIN + models * (width + GAP) - GAP, head + count * block + MARGIN - GAP)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for column, name in enumerate(names):
        left = MARGIN + column * (width + GAP)
        pen.text((left, MARGIN), _cut(name, font, width), INK, font=font)
    for row, prompt in enumerate(prompts):
        top = head + row * block
        pen.text((MARGIN, top), _cut(prompt, font, size[0] - 2 * MARGIN), FAINT, font=font)
        for number in range(len(seeds)):
            for column in range(models):
                picture = to_picture(images[column, row, number])
                picture = picture.resize((width, height), Image.Resampling.NEAREST)
                place = (MARGIN + column * (width + GAP), top + LINE + number * (height + GAP))
                sheet.paste(picture, place)
    return sheet


def plain(text: str) -> str:
    """Return a text whose controls and direction marks, which do not print, are visible."""
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return "".join("\ufffd" if unicodedata.category(char) in hidden else char for char in text)


def _cut(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, room: int) -> str:
    text = plain(text)[:300]
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "...") > room:
        text = text[:-1]
    return text + "..."
