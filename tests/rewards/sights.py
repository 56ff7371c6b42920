"""Pictures of whole numbers alone, the same on every machine, and what a golden keeps of one."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffpref.rewards.sight import CLIP_MEAN, CLIP_STD

FIXTURE = Path(__file__).with_name("sights.json")

SIZES = {
    "square": (512, 512),
    "fits": (224, 224),
    "excess-1": (300, 302),
    "excess-3": (427, 640),
    "excess-3-tall": (640, 427),
    "tall": (900, 130),
    "wide": (48, 1000),
    "tiny": (16, 16),
    "pixel": (1, 1),
    "longest-fits": (224, 160),
    "shortest-fits": (224, 331),
    "odd": (341, 255),
}
"""(height, width); excess: of the longer edge over 224 once resized, modulo 4."""

MODES = ("RGBA", "P", "L", "CMYK")
CASES = (*SIZES, *MODES)
SIGHTS = ("clipscore", "pickscore", "hps-today", "hps-2023", "imagereward", "blip-itm", "vqascore")
ROUNDED = frozenset(SIGHTS) - {"hps-today", "hps-2023"}
"""Sights that end in 8-bit pixels, normalised."""


def picture(case: str) -> Image.Image:
    """Return bands, edges and noise of one size, or of one mode with everything opaque."""
    height, width = SIZES.get(case, (300, 260))
    y, x = np.mgrid[:height, :width].astype(np.int64)
    noise = (x * 7919 + y * 104729 + x * y * 31) % 97
    bands = np.stack([(x * 3) % 256, (y * 5) % 256, ((x // 9 + y // 13) % 2) * 200], axis=2)
    image = Image.fromarray(((bands + noise[..., None]) % 256).astype(np.uint8))
    if case == "P":
        return image.quantize(32, method=Image.Quantize.FASTOCTREE)
    return image.convert(case) if case in MODES else image


def kept(sight: str, seen: Tensor) -> dict[str, Any]:
    """Return a golden of [3 v u] as a network sees it."""
    found: dict[str, Any] = {
        "size": list(seen.shape[1:]),
        "mean": [round(float(each), 5) for each in seen.double().mean(dim=(1, 2))],
        "std": [round(float(each), 5) for each in seen.double().std(dim=(1, 2), correction=0)],
        "some": [round(float(seen[c, y, x]), 4) for c, y, x in _places(seen)],
    }
    if sight in ROUNDED:
        mean, std = (torch.tensor(each)[:, None, None] for each in (CLIP_MEAN, CLIP_STD))
        bytes_ = ((seen * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        found["bytes"] = sha256(bytes_.numpy().tobytes()).hexdigest()[:16]
    return found


def _places(seen: Tensor) -> list[tuple[int, int, int]]:
    _, height, width = seen.shape
    shares = ((0, 0.5, 0.5), (1, 0.1, 0.9), (2, 0.99, 0.3), (0, 0.0, 0.0), (1, 0.4, 0.02))
    return [(c, int(y * height), int(x * width)) for c, y, x in shares]
