"""Scorers without weights, on pictures of any size, against their definitions."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from diffpref.errors import UsageError
from diffpref.rewards import load_scorer


@pytest.fixture
def pictures() -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.rand(3, y, x, generator=rng) for y, x in ((33, 50), (64, 17), (33, 50))]


def test_jpeg_size_is_minus_the_thousands_of_bytes_at_quality_95(pictures: list[Tensor]) -> None:
    plain = torch.full((3, 33, 50), 0.3)
    found = load_scorer("jpeg-size").score([*pictures, plain], "").values
    for picture, value in zip([*pictures, plain], found.tolist(), strict=True):
        pixels = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
        assert value == pytest.approx(-len(buffer.getvalue()) / 1000)
    assert found.argmax() == 3


def measured(name: str, picture: Tensor) -> float:
    """Return an attribute from its definition, in numpy and float64."""
    pixels = picture.double().numpy()
    red, green, blue = pixels
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    if name == "brightness":
        return float(light.mean())
    if name == "warmth":
        return float(red.mean() - blue.mean())
    if name == "colourfulness":
        return float(np.sqrt(((pixels - pixels.mean(0)) ** 2).sum(0).mean() + 1e-6))
    if name == "contrast":
        return float(np.sqrt(light.var(ddof=1) + 1e-6))
    if name == "edge-energy":
        across, down = np.diff(pixels, axis=2), np.diff(pixels, axis=1)
        return float(np.sqrt((across**2).mean() + (down**2).mean() + 1e-6))
    return float(-np.sqrt(((pixels - pixels[:, :, ::-1]) ** 2).mean() + 1e-6))


NAMES = ("brightness", "warmth", "colourfulness", "contrast", "edge-energy", "symmetry")


@pytest.mark.parametrize("name", NAMES)
def test_attributes_are_their_definitions(name: str, pictures: list[Tensor]) -> None:
    scorer = load_scorer(name)
    expected = [measured(name, picture) for picture in pictures]
    assert scorer.score(pictures, "").values.tolist() == pytest.approx(expected, abs=1e-5)
    low, high = scorer.info.range_hint
    assert all(low <= value <= high for value in expected)
    assert scorer.to("cpu", torch.bfloat16) == scorer


def test_coverage_and_centring_see_what_differs_from_the_border() -> None:
    empty = torch.full((3, 30, 40), 0.8)
    middle, corner = empty.clone(), empty.clone()
    middle[:, 11:19, 16:24] = 0.1
    corner[:, 1:9, 1:9] = 0.1
    cover = load_scorer("coverage").score([empty, middle, corner], "").values
    share = 64 / 1200 * 3 * 0.49 / (3 * 0.49 + 0.05)
    assert cover.tolist() == pytest.approx([0, share, share], abs=1e-4)
    centre = load_scorer("centring").score([middle, corner], "").values
    assert float(centre[0]) > -0.01
    assert float(centre[1]) < -0.7


def test_attributes_have_no_weights() -> None:
    with pytest.raises(UsageError, match="brightness has no weights"):
        load_scorer("brightness", weights="x")
