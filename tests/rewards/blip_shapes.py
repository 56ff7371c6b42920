"""BLIP's keys and shapes in the original layouts, in tiny and in published sizes, and random fills.

Written from the original modules' names, independently of the code under test.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Sizes of a BLIP; the MLPs' widths are stated because nothing else tells them."""

    width: int
    depth: int
    vision_inner: int
    grid: int
    patch: int
    text: int
    layers: int
    text_inner: int
    rows: int
    places: int
    space: int
    ranking: tuple[int, ...]


TINY_SIZE = Size(
    width=128,
    depth=2,
    vision_inner=96,
    grid=2,
    patch=16,
    text=128,
    layers=2,
    text_inner=80,
    rows=103,  # the words of tiny_blip and BLIP's own two
    places=40,
    space=24,
    ranking=(20, 12, 8, 6, 1),
)


def published(*, large: bool, grid: int) -> Size:
    """Return the sizes BLIP was published in."""
    width = 1024 if large else 768
    return Size(
        width=width,
        depth=24 if large else 12,
        vision_inner=4 * width,
        grid=grid,
        patch=16,
        text=768,
        layers=12,
        text_inner=3072,
        rows=30524,
        places=512,
        space=256,
        ranking=(1024, 128, 64, 16, 1),
    )


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def tower_shapes(size: Size, name: str = "visual_encoder") -> Shapes:
    """Return the image tower: timm's names."""
    width = size.width
    found: Shapes = {
        f"{name}.cls_token": (1, 1, width),
        f"{name}.pos_embed": (1, 1 + size.grid**2, width),
        f"{name}.patch_embed.proj.weight": (width, 3, size.patch, size.patch),
        f"{name}.patch_embed.proj.bias": (width,),
        **norm(f"{name}.norm", width),
    }
    for number in range(size.depth):
        block = f"{name}.blocks.{number}"
        found |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        found |= linear(f"{block}.attn.qkv", 3 * width, width)
        found |= linear(f"{block}.attn.proj", width, width)
        found |= linear(f"{block}.mlp.fc1", size.vision_inner, width)
        found |= linear(f"{block}.mlp.fc2", width, size.vision_inner)
    return found


def bert_shapes(size: Size, name: str = "text_encoder") -> Shapes:
    """Return BERT with cross-attention in every layer, no token types and no pooler."""
    width = size.text
    found: Shapes = {
        f"{name}.embeddings.position_ids": (1, size.places),
        f"{name}.embeddings.word_embeddings.weight": (size.rows, width),
        f"{name}.embeddings.position_embeddings.weight": (size.places, width),
        **norm(f"{name}.embeddings.LayerNorm", width),
    }
    for number in range(size.layers):
        layer = f"{name}.encoder.layer.{number}"
        for kind, seen in (("attention", width), ("crossattention", size.width)):
            found |= linear(f"{layer}.{kind}.self.query", width, width)
            found |= linear(f"{layer}.{kind}.self.key", width, seen)
            found |= linear(f"{layer}.{kind}.self.value", width, seen)
            found |= linear(f"{layer}.{kind}.output.dense", width, width)
            found |= norm(f"{layer}.{kind}.output.LayerNorm", width)
        found |= linear(f"{layer}.intermediate.dense", size.text_inner, width)
        found |= linear(f"{layer}.output.dense", width, size.text_inner)
        found |= norm(f"{layer}.output.LayerNorm", width)
    return found


def shapes(size: Size) -> Shapes:
    """Return what every BLIP encoder has."""
    return {
        **tower_shapes(size),
        **bert_shapes(size),
        **linear("vision_proj", size.space, size.width),
        **linear("text_proj", size.space, size.text),
    }


def imagereward_shapes(size: Size) -> Shapes:
    found = {f"blip.{name}": shape for name, shape in shapes(size).items()}
    into = size.text
    for number, out in zip((0, 2, 4, 6, 7), size.ranking, strict=True):
        found |= linear(f"mlp.layers.{number}", out, into)
        into = out
    return found


def salesforce_shapes(size: Size) -> Shapes:
    """Return a checkpoint of training: momentum copies, queues and a decoder are in it."""
    return {
        **shapes(size),
        **linear("itm_head", 2, size.text),
        **tower_shapes(size, "visual_encoder_m"),
        **bert_shapes(size, "text_encoder_m"),
        **linear("vision_proj_m", size.space, size.width),
        **linear("text_proj_m", size.space, size.text),
        **bert_shapes(size, "text_decoder.bert"),
        "text_decoder.cls.predictions.bias": (size.rows,),
        "image_queue": (size.space, 4),
        "text_queue": (size.space, 4),
        "idx_queue": (1, 4),
        "ptr_queue": (1,),
        "queue_ptr": (1,),
        "temp": (),
    }


def filled(wanted: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Return random tensors; norms near one, the rest large enough that every part matters."""
    rng = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {}
    for name, shape in wanted.items():
        noise = torch.randn(shape, generator=rng)
        if name.endswith("position_ids"):
            found[name] = torch.arange(shape[-1])[None]
        elif len(shape) == 1:
            found[name] = 0.1 * noise + float(".weight" in name)
        else:
            into = prod(shape[1:]) if len(shape) in (2, 4) and "embed" not in name else 1
            found[name] = noise * 1.5 / into**0.5
    return found
