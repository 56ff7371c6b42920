"""Record what published code makes of pictures: `python -m tests.rewards.sights_record`.

The processors of open_clip, transformers and torchvision prepare every picture; nothing of
diffpref is called but two constants. HPSv2's transform and VQAScore's canvas are written again
from the description.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize
from torchvision.transforms import functional as tv
from transformers import CLIPImageProcessorPil

from diffpref.rewards.sight import CLIP_MEAN, CLIP_STD
from tests.rewards.sights import CASES, FIXTURE, SIGHTS, kept, picture

BICUBIC = InterpolationMode.BICUBIC


def hub(image: Image.Image, side: int = 224) -> Tensor:
    """Return what transformers' Pillow processor of CLIP returns."""
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    return torch.as_tensor(processor(image, return_tensors="pt")["pixel_values"][0])


def opened(image: Image.Image) -> Tensor:
    """Return what open_clip's transform of inference returns."""
    stock: Any = open_clip.image_transform(224, is_train=False, mean=CLIP_MEAN, std=CLIP_STD)
    return torch.as_tensor(stock(image))


def hps(image: Image.Image, *, antialias: bool) -> Tensor:
    """Return HPSv2's: floats first, longest edge, black filling, then mean and deviation."""
    pixels = tv.to_tensor(image)
    height, width = pixels.shape[1:]
    scale = 224 / max(height, width)
    new = [round(height * scale), round(width * scale)]
    if scale != 1:
        pixels = tv.resize(pixels, new, BICUBIC, antialias=antialias)
    rest = (224 - new[0], 224 - new[1])
    sides = [rest[1] // 2, rest[0] // 2, rest[1] - rest[1] // 2, rest[0] - rest[0] // 2]
    return tv.normalize(tv.pad(pixels, sides), list(CLIP_MEAN), list(CLIP_STD))


def finished(image: Image.Image) -> Tensor:
    """Return a picture as torchvision's ToTensor and Normalize do."""
    return Normalize(CLIP_MEAN, CLIP_STD)(tv.to_tensor(image))


def canvas(image: Image.Image) -> Tensor:
    """Return LLaVA's square of the mean colour, then transformers' processor at 336."""
    edge = max(image.size)
    square = Image.new("RGB", (edge, edge), tuple(int(255 * each) for each in CLIP_MEAN))
    square.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
    return hub(square, 336)


STOCK: Mapping[str, Callable[[Image.Image], Any]] = {
    "clipscore": opened,
    "pickscore": hub,
    "hps-today": lambda image: hps(image, antialias=True),
    "hps-2023": lambda image: hps(image, antialias=False),
    "imagereward": Compose([Resize(224, BICUBIC), CenterCrop(224), finished]),
    "blip-itm": Compose([Resize((384, 384), BICUBIC), finished]),
    "vqascore": canvas,
}

if __name__ == "__main__":
    goldens = {
        sight: {
            case: kept(sight, torch.as_tensor(STOCK[sight](picture(case).convert("RGB"))))
            for case in CASES
        }
        for sight in SIGHTS
    }
    rows = [
        f"{json.dumps(sight)}: {{\n"
        + ",\n".join(f"{json.dumps(case)}: {json.dumps(each)}" for case, each in cases.items())
        + "\n}"
        for sight, cases in goldens.items()
    ]
    FIXTURE.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
