"""How SigLIP's scorer sees a picture: the very pixels of transformers' Pillow path, and golden."""

from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import SiglipImageProcessorPil

from diffpref.rewards.frames import squash
from diffpref.rewards.sight import Framed

SIDE = 384
MIDDLE = (0.5, 0.5, 0.5)
SIGHT = Framed(id="x", framing=squash(SIDE), mean=MIDDLE, std=MIDDLE)

GOLDEN = {
    (384, 384): ("2545c2468a3513d9", -0.0965269, 0.6230526),
    (512, 512): ("253776732bfd417b", -0.0881390, 0.4859813),
    (640, 427): ("6515856da584c9e8", -0.0907241, 0.4800873),
    (427, 640): ("26e48e8bfc251361", -0.0959258, 0.4774588),
    (768, 300): ("f598f0e2a81fbb9e", -0.0941978, 0.4683246),
    (37, 801): ("3e4fa18fcadb832f", -0.0730016, 0.4633566),
    (100, 60): ("2912e7d38c1c1396", -0.0760865, 0.5339657),
    (1, 1): ("ecdd54e7af52d8ca", -1.0000000, 0.0000000),
}
"""By (height, width): hash of the resized bytes, mean and deviation of what the network sees."""


def picture(height: int, width: int) -> np.ndarray:
    """Return bands, edges and noise of whole numbers alone, so that every machine has the same."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    noise = (x * 7919 + y * 104729 + x * y * 31) % 97
    bands = np.stack([(x * 3) % 256, (y * 5) % 256, ((x // 9 + y // 13) % 2) * 200], axis=2)
    return ((bands + noise[..., None]) % 256).astype(np.uint8)


def seen(bytes_: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the two ways of seeing a picture."""
    pixels = torch.from_numpy(bytes_).permute(2, 0, 1).float() / 255
    return SIGHT.reference(pixels), SIGHT.smooth(pixels[None])[0]


SIZES = [(384, 384), (512, 512), (640, 427), (427, 640), (768, 300), (37, 801), (100, 60), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_the_reference_path_is_transformers_with_pillow(size: tuple[int, int]) -> None:
    bytes_ = picture(*size)
    stock = SiglipImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    theirs = stock(images=Image.fromarray(bytes_), return_tensors="pt")["pixel_values"][0]
    ours, _ = seen(bytes_)
    assert ours.shape == (3, SIDE, SIDE)
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_the_reference_path_is_the_recorded_one(size: tuple[int, int]) -> None:
    ours, _ = seen(picture(*size))
    bytes_ = ((ours * 0.5 + 0.5) * 255).round().to(torch.uint8)
    digest = sha256(bytes_.numpy().tobytes()).hexdigest()[:16]
    found = (digest, float(ours.double().mean()), float(ours.double().std()))
    assert found == (GOLDEN[size][0], *(pytest.approx(v, abs=1e-6) for v in GOLDEN[size][1:]))


@pytest.mark.parametrize("size", SIZES)
def test_the_smooth_path_differs_by_rounding_alone(size: tuple[int, int]) -> None:
    muted = picture(*size) // 2 + 64  # Pillow cuts overshoot between its two passes, floats after
    ours, smooth = seen(muted)
    levels = (ours - smooth).abs() * 255 / 2
    assert float(levels.max()) <= 2
    assert float(levels.mean()) <= 0.35


def test_overshoot_of_the_smooth_path_is_cut() -> None:
    edges = np.zeros((100, 100, 3), dtype=np.uint8)
    edges[::2] = 255
    for path in seen(edges):
        assert (float(path.min()), float(path.max())) == (-1.0, 1.0)
