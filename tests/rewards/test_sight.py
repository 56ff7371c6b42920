"""Preprocessing against torchvision, transformers and Pillow, for sizes that differ in rounding."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv
from transformers import CLIPImageProcessorPil

from diffpref.rewards.frames import longest, shortest, square_canvas, squash
from diffpref.rewards.inputs import one_picture
from diffpref.rewards.sight import CLIP_MEAN, CLIP_STD, Framed, round_to_bytes

SIZES = [(224, 224), (512, 512), (640, 427), (427, 640), (225, 224), (300, 1000), (37, 91)]
SIZES += [(224, 160), (226, 230), (768, 511), (90, 90), (1024, 576)]
UNIT = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Return smooth shapes with sharp edges and some grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [np.sin(x / (5 + c) + c) * np.cos(y / (7 - c)) * 90 + 128 for c in range(3)]
    image = np.stack(waves, axis=-1) + rng.normal(0, 20, (*size, 3))
    image[size[0] // 3 : size[0] // 2, size[1] // 4 : size[1] // 2] = (250, 5, 90)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def sight(**told: object) -> Framed:
    return Framed(id="test", **told)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("size", SIZES)
def test_shortest_is_what_open_clip_does_with_pillow(size: tuple[int, int]) -> None:
    stock = open_clip.image_transform(224, is_train=False, mean=CLIP_MEAN, std=CLIP_STD)
    ours = sight(framing=shortest(224)).reference(one_picture(picture(size), 0))
    assert torch.allclose(ours, torch.as_tensor(stock(picture(size))), atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_shortest_with_floor_is_what_transformers_does(size: tuple[int, int]) -> None:
    stock = CLIPImageProcessorPil()(picture(size), return_tensors="pt")["pixel_values"][0]
    ours = sight(framing=shortest(224, floor=True)).reference(one_picture(picture(size), 0))
    assert torch.allclose(ours, torch.as_tensor(stock), atol=1e-6)


def test_the_two_centres_differ_by_one_pixel_where_the_excess_is_three_modulo_four() -> None:
    stock, floor = shortest(224), shortest(224, floor=True)
    assert (stock(427, 640).size, stock(427, 640).window[1]) == ((224, 335), 56)
    assert floor(427, 640).window[1] == 55
    for width in range(224, 264):
        differ = stock(224, width).window != floor(224, width).window
        assert differ == ((width - 224) % 4 == 3), width


def hps(image: Image.Image, *, antialias: bool) -> Tensor:
    """HPSv2's transform written again: floats first, longest edge, black filling, then mean/std."""
    pixels = tv.to_tensor(image)
    height, width = pixels.shape[1:]
    scale = 224 / max(height, width)
    new = [round(height * scale), round(width * scale)]
    if scale != 1:
        pixels = tv.resize(pixels, new, InterpolationMode.BICUBIC, antialias=antialias)
    rest = (224 - new[0], 224 - new[1])
    sides = [rest[1] // 2, rest[0] // 2, rest[1] - rest[1] // 2, rest[0] - rest[0] // 2]
    return tv.normalize(tv.pad(pixels, sides), list(CLIP_MEAN), list(CLIP_STD))


@pytest.mark.parametrize("size", SIZES)
def test_longest_is_hpsv2s_transform_with_and_without_antialiasing(size: tuple[int, int]) -> None:
    pixels = one_picture(picture(size), 0)
    seen = {}
    for name, antialias in (("antialias", True), ("plain", False)):
        ours = sight(framing=longest(224), resample=name, clamp=False)
        seen[name] = ours.reference(pixels)
        theirs = hps(picture(size), antialias=antialias)
        assert torch.allclose(seen[name], theirs, atol=1e-5), name
        assert torch.equal(ours.smooth(pixels[None])[0], seen[name])
    if max(size) > 448:  # where it shrinks much, the two published regimes are far apart
        assert float((seen["antialias"] - seen["plain"]).abs().mean()) > 0.05


def test_a_picture_whose_longest_edge_fits_is_filled_too() -> None:
    seen = sight(framing=longest(224), resample="antialias", clamp=False, **UNIT)
    wide = seen.reference(torch.ones(3, 160, 224))
    assert wide.shape == (3, 224, 224)
    assert float(wide[:, :32].sum() + wide[:, -32:].sum()) == 0
    assert float(wide[:, 32:-32].mean()) == 1


def test_squash_and_canvas_keep_everything_in_sight() -> None:
    image = picture((90, 60))
    seen = sight(framing=squash(32), **UNIT).reference(one_picture(image, 0))
    stock = image.resize((32, 32), Image.Resampling.BICUBIC)
    assert torch.equal((seen * 255).round(), one_picture(stock, 0) * 255)
    colour = (0.48, 0.46, 0.41)
    seen = sight(framing=square_canvas(30), fill=colour, **UNIT).reference(one_picture(image, 0))
    canvas = Image.new("RGB", (90, 90), (122, 117, 105))
    canvas.paste(image, (15, 0))
    stock = canvas.resize((30, 30), Image.Resampling.BICUBIC)
    assert torch.equal((seen * 255).round(), one_picture(stock, 0) * 255)


@pytest.mark.parametrize("size", [(512, 512), (300, 1000), (640, 427)])
def test_the_smooth_path_is_pillow_up_to_rounding(size: tuple[int, int]) -> None:
    pixels = one_picture(picture(size), 0)
    both = sight(framing=shortest(224), **UNIT)
    gap = 255 * (both.smooth(pixels[None])[0] - both.reference(pixels)).abs()
    assert float(gap.mean()) < 0.35
    assert float(gap.max()) < 4.0


def test_the_smooth_path_has_the_gradient_of_finite_differences() -> None:
    both = sight(framing=shortest(16))
    pixels = (torch.rand(1, 3, 24, 40, dtype=torch.float32) * 0.8 + 0.1).requires_grad_()
    weight = torch.randn(1, 3, 16, 16)
    (grad,) = torch.autograd.grad((both.smooth(pixels) * weight).sum(), pixels)
    way = torch.randn_like(pixels)
    way /= way.norm()
    step = 1e-2
    with torch.no_grad():
        up = (both.smooth(pixels + step * way).double() * weight).sum()
        down = (both.smooth(pixels - step * way).double() * weight).sum()
    assert float((up - down) / (2 * step)) == pytest.approx(float((grad * way).sum()), rel=1e-2)


def test_rounding_to_bytes_lets_the_gradient_through() -> None:
    pixels = torch.tensor([[[[0.1234, 0.9]]]]).expand(1, 3, 1, 2).clone().requires_grad_()
    rounded = round_to_bytes(pixels)
    assert torch.allclose(rounded * 255, (pixels * 255).round(), atol=1e-4)
    (grad,) = torch.autograd.grad(rounded.sum(), pixels)
    assert torch.equal(grad, torch.ones_like(grad))


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "CMYK"])
def test_other_modes_are_made_rgb_before_anything_else(mode: str) -> None:
    image = picture((300, 260)).convert(mode)
    seen = sight(framing=shortest(64)).reference(one_picture(image, 0))
    assert seen.shape == (3, 64, 64)
    told = sight(framing=shortest(64)).reference(one_picture(image.convert("RGB"), 0))
    assert torch.allclose(seen, told, atol=0.1)
