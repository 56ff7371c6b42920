"""Small pictures, rows and a toy encoder whose numbers are known."""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from diffpref.data.records import BadRow, Record, Row
from diffpref.data.writers import image_of
from diffpref.types import Conditioning

FACTOR = 2
SIDE = 32


def picture(seed: int, width: int = SIDE, height: int = SIDE, mode: str = "RGB") -> Image.Image:
    """A picture of its own for every seed: a gradient, so that crops can be told apart."""
    horizontal = Image.linear_gradient("L").rotate(90).resize((width, height))
    vertical = Image.linear_gradient("L").resize((width, height))
    flat = Image.new("L", (width, height), (37 * seed + 11) % 256)
    return Image.merge("RGB", (horizontal, vertical, flat)).convert(mode)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png(seed: int, width: int = SIDE, height: int = SIDE) -> bytes:
    return encoded(picture(seed, width, height))


def pair(
    seed: int,
    *,
    prompt: str | None = None,
    scores: tuple[float, ...] = (1.0, 0.0),
    size: tuple[int, int] = (SIDE, SIDE),
    **more: Any,
) -> Record:
    """A record of len(scores) pictures of its own."""
    images = tuple(image_of(png(10 * seed + index, *size)) for index in range(len(scores)))
    votes = tuple(map(float, scores))
    return Record(prompt=prompt or f"prompt {seed}", images=images, scores=votes, **more)


def write_lines(path: Path, rows: Sequence[Mapping[str, object] | str]) -> Path:
    """Write jsonl; a text is written as it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def good(rows: Sequence[Row]) -> list[Record]:
    return [row for row in rows if isinstance(row, Record)]


def codes(rows: Sequence[Row]) -> list[str]:
    return [row.code for row in rows if isinstance(row, BadRow)]


class ToyEncoder:
    """Latents are pooled pixels, the spread is known, and every call is counted."""

    def __init__(self, *, pooled: bool = False, vae: str = "toy-vae", text: str = "toy") -> None:
        self.fingerprints = {"vae": vae, "text": text}
        self.vae_factor = FACTOR
        self.resolution = SIDE
        self.pooled = pooled
        self.images = 0
        self.prompts: list[str] = []
        self.die_after: int | None = None

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        if self.die_after is not None and self.images >= self.die_after:
            raise KeyboardInterrupt
        self.images += len(pixels)
        mean = torch.nn.functional.avg_pool2d(pixels, FACTOR) * 2 - 1
        return mean, 0.1 + 0 * mean

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        self.prompts.extend(prompts)
        seeds = [blake2b(prompt.encode(), digest_size=6).digest() for prompt in prompts]
        text = torch.tensor([list(seed) for seed in seeds]).float().view(-1, 3, 2) / 255
        return Conditioning(text=text, pooled=text[:, 0] if self.pooled else None)


def no_time_ids(original: Tensor, crop: Tensor, target: Tensor) -> Tensor | None:
    del original, crop, target
    return None


def sdxl_time_ids(original: Tensor, crop: Tensor, target: Tensor) -> Tensor | None:
    return torch.cat([original, crop, target], dim=1).float()
