"""Images as users have them become the same pixels; anything doubtful is refused by name."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffpref.errors import DataError
from diffpref.rewards.inputs import match_prompts, to_pixels

ARRAY = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4
PIXELS = torch.from_numpy(ARRAY).permute(2, 0, 1) / 255


def encoded() -> bytes:
    buffer = BytesIO()
    Image.fromarray(ARRAY).save(buffer, format="PNG")
    return buffer.getvalue()


def test_every_kind_of_image_gives_the_same_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded())
    whole = torch.from_numpy(ARRAY).permute(2, 0, 1)
    arrays = (ARRAY, ARRAY / 255, (ARRAY / 255).astype(np.float32))
    for image in (Image.fromarray(ARRAY), path, str(path), encoded(), *arrays, whole, whole / 255):
        (single,), (listed,) = to_pixels(image), to_pixels([image])
        assert torch.allclose(single, PIXELS, atol=1e-6), type(image)
        assert torch.equal(single, listed)
        assert single.dtype == torch.float32


def test_stacks_are_several_images() -> None:
    assert len(to_pixels(torch.rand(3, 3, 8, 8))) == 3
    assert len(to_pixels(np.stack([ARRAY, ARRAY]))) == 2
    assert to_pixels([]) == []


def test_signed_floats_are_mapped_when_said() -> None:
    (found,) = to_pixels(PIXELS * 2 - 1, pixel_range="signed")
    assert torch.allclose(found, PIXELS, atol=1e-6)


def test_a_little_overshoot_is_clamped() -> None:
    (found,) = to_pixels(torch.full((3, 2, 2), 1.005))
    assert float(found.max()) == 1.0


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((3, 2, 2), -0.5), "pixel_range='signed'"),
        (torch.full((3, 2, 2), 200.0), r"looks like 0\.\.255"),
        (torch.full((3, 2, 2), torch.nan), "values from nan"),
        (torch.rand(1, 2, 2), r"a tensor of shape \(1, 2, 2\)"),
        (torch.zeros(3, 2, 2, dtype=torch.int64), "a tensor of torch.int64"),
        (np.zeros((2, 2, 4), dtype=np.uint8), r"an array of shape \(2, 2, 4\)"),
        (np.full((2, 2, 3), 300.0), "values from 300 to 300"),
        (np.zeros((2, 2, 3), dtype=np.int64), "int64"),
        (b"no image", r"images\[1\]"),
    ],
)
def test_doubtful_images_are_refused_by_number(image: object, message: str) -> None:
    with pytest.raises(DataError) as caught:
        to_pixels([PIXELS, image])
    assert "images[1]" in str(caught.value)
    assert re.search(message, str(caught.value))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file gone\.png"):
        to_pixels([tmp_path / "gone.png"])


def test_prompts_are_never_paired_silently() -> None:
    assert match_prompts("x", 3) == ("x", "x", "x")
    assert match_prompts(["x", "y"], 4, images_per_prompt=2) == ("x", "x", "y", "y")
    with pytest.raises(DataError, match="1 prompts for 3 images"):
        match_prompts(["x"], 3)
    with pytest.raises(DataError, match="0 prompts for 3 images"):
        match_prompts([], 3)
