"""Images of one prompt are brought to one size together and never stretched."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffpref.data.transform import (
    LONGEST,
    buckets,
    crop_share,
    cut,
    cut_together,
    pick_bucket,
    place,
    to_tensor,
)
from tests.data.makers import picture

SIDES = st.integers(1, 3000)
SDXL = buckets(1024, 64)


def test_buckets_have_about_the_area_of_the_square_and_whole_multiples() -> None:
    assert (1024, 1024) in SDXL
    assert (832, 1216) in SDXL
    for height, width in SDXL:
        assert height % 64 == width % 64 == 0
        assert 0.9 * 1024**2 < height * width <= 1024**2
        assert 1 / LONGEST <= height / width <= LONGEST
    assert set(SDXL) == {(width, height) for height, width in SDXL}


def test_a_small_model_has_the_square_alone() -> None:
    assert buckets(32, 32) == ((32, 32),)


@pytest.mark.parametrize("resolution", [0, 31, 48])
def test_a_resolution_that_is_no_multiple_is_refused(resolution: int) -> None:
    with pytest.raises(ValueError, match=r"data\.resolution"):
        buckets(resolution, 32)


@given(
    SIDES,
    SIDES,
    st.sampled_from(SDXL),
    st.none() | st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_an_image_just_covers_its_bucket_and_keeps_its_aspect_ratio(
    height: int, width: int, target: tuple[int, int], at: tuple[float, float] | None
) -> None:
    resized, geometry = place((height, width), target, at)
    assert resized[0] >= target[0]
    assert resized[1] >= target[1]
    assert resized[0] == target[0] or resized[1] == target[1]
    scale = max(target[0] / height, target[1] / width)
    assert abs(resized[0] - height * scale) <= 1
    assert abs(resized[1] - width * scale) <= 1
    top, left = geometry.crop
    assert 0 <= top <= resized[0] - target[0]
    assert 0 <= left <= resized[1] - target[1]
    assert geometry.numbers == (height, width, top, left, *target)
    assert geometry.upscaled == (height < target[0] or width < target[1])


def test_random_crops_reach_every_place_and_repeat_themselves() -> None:
    shares = [crop_share(7, position) for position in range(200)]
    assert shares == [crop_share(7, position) for position in range(200)]
    crops = {place((100, 68), (64, 64), share)[1].crop for share in shares}
    assert {top for top, _ in crops} == set(range(31))
    assert place((100, 68), (64, 64))[1].crop == (15, 0)


def test_the_bucket_is_chosen_for_all_images_of_a_prompt() -> None:
    choices = buckets(64, 8)
    wide, tall = (40, 80), (80, 40)
    assert pick_bucket([wide], choices)[1] > pick_bucket([wide], choices)[0]
    assert pick_bucket([wide, tall], choices) == (64, 64)
    assert pick_bucket([tall, tall], choices) == pick_bucket([tall], choices)


def test_images_of_different_sizes_come_out_alike_with_their_own_geometry() -> None:
    first, second = picture(1, 64, 64), picture(2, 48, 64)
    (one, geometry), (two, other) = cut_together([first, second], buckets(32, 16))
    assert one.size == two.size
    assert geometry.original == (64, 64)
    assert other.original == (64, 48)
    assert geometry.target == other.target


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    image = picture(3)
    ((same, geometry),) = cut_together([image], buckets(32, 16))
    assert same.tobytes() == image.tobytes()
    assert geometry.crop == (0, 0)


def test_the_crop_is_the_part_it_says() -> None:
    image = picture(1, 64, 32)
    result, geometry = cut(image, (32, 32), (0.0, 0.5))
    top, left = geometry.crop
    assert (top, left) == (0, 16)
    assert result.tobytes() == image.crop((16, 0, 48, 32)).tobytes()


def test_a_flip_mirrors_all_images_of_a_prompt_or_none() -> None:
    images = [picture(1), picture(2)]
    plain = cut_together(images, buckets(32, 16))
    flipped = cut_together(images, buckets(32, 16), flip=True)
    mirror = Image.Transpose.FLIP_LEFT_RIGHT
    for (image, _), (other, _) in zip(plain, flipped, strict=True):
        assert other.tobytes() == image.transpose(mirror).tobytes()
        assert other.tobytes() != image.tobytes()


def test_tensors_hold_the_pixels_in_unit_range() -> None:
    image = Image.new("RGB", (3, 2), (255, 0, 51))
    image.putpixel((2, 1), (0, 255, 255))
    tensor = to_tensor([image, picture(1, 3, 2)])
    assert tensor.shape == (2, 3, 2, 3)
    assert torch.allclose(tensor[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.2]))
    assert torch.equal(tensor[0, :, 1, 2], torch.tensor([0.0, 1.0, 1.0]))
