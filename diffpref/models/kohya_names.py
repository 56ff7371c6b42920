"""What the kohya layout calls a layer: names of the original networks, or of diffusers'.

sd-scripts trains SD1.5 on a UNet with diffusers' names and SDXL on one with the names of the
released checkpoint, and both A1111 and ComfyUI look for what it writes. A dot becomes `_`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from torch import nn

from diffpref.errors import ConfigError
from diffpref.models.family import SDXL, Family

OUTER: Mapping[str, str] = MappingProxyType(
    {
        "conv_in": "input_blocks.0.0",
        "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
    }
)
"""Layers outside the blocks: diffusers -> the original network."""

RESNET: Mapping[str, str] = MappingProxyType(
    {
        "conv1": "in_layers.2",
        "conv2": "out_layers.3",
        "time_emb_proj": "emb_layers.1",
        "conv_shortcut": "skip_connection",
    }
)
"""Layers of a residual block."""

PART = re.compile(r"(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")


def kohya_namer(family: Family, part: str, unet: nn.Module) -> Callable[[str], str]:
    """Return the function from a layer's path to its name in the file.

    Args:
        family: of the model.
        part: unet, text_encoder or text_encoder_2.
        unet: whose blocks the names of SDXL count.

    Returns:
        path -> name, which raises a ConfigError for a layer the layout has no name for.
    """
    if part != "unet":
        number = "" if len(family.towers) == 1 else "2" if part.endswith("_2") else "1"
        return lambda path: f"lora_te{number}_{_flat(in_text_model(path))}"
    if family is not SDXL:
        return lambda path: f"lora_unet_{_flat(path)}"
    blocks = dict(original_blocks(unet))

    def named(path: str) -> str:
        found = _original(path, blocks)
        if found is None:
            hint = "write it as --as diffusers, or choose adapter.targets: everything"
            raise ConfigError("the kohya layout has no name for it", where=path, hint=hint)
        return f"lora_unet_{_flat(found)}"

    return named


def original_blocks(unet: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield (diffusers' name, original name) of every part of an SDXL UNet's blocks.

    The original network is one list each of input and output blocks: a residual block and its
    attention share a number, an input block's downsampler has its own, and an output block's
    upsampler is the last entry of the block's last number.
    """
    number = 1  # 0 is conv_in
    for i, block in enumerate(unet.get_submodule("down_blocks").children()):
        for j in range(_count(block, "resnets")):
            yield f"down_blocks.{i}.resnets.{j}", f"input_blocks.{number}.0"
            yield f"down_blocks.{i}.attentions.{j}", f"input_blocks.{number}.1"
            number += 1
        if _count(block, "downsamplers"):
            yield f"down_blocks.{i}.downsamplers.0", f"input_blocks.{number}.0"
            number += 1
    yield from (
        ("mid_block.resnets.0", "middle_block.0"),
        ("mid_block.attentions.0", "middle_block.1"),
        ("mid_block.resnets.1", "middle_block.2"),
    )
    number = 0
    for i, block in enumerate(unet.get_submodule("up_blocks").children()):
        for j in range(_count(block, "resnets")):
            yield f"up_blocks.{i}.resnets.{j}", f"output_blocks.{number}.0"
            yield f"up_blocks.{i}.attentions.{j}", f"output_blocks.{number}.1"
            number += 1
        place = 2 if _count(block, "attentions") else 1
        yield f"up_blocks.{i}.upsamplers.0", f"output_blocks.{number - 1}.{place}"


def in_text_model(path: str) -> str:
    """Return the path in the published network, whose layers are all in `text_model`."""
    return f"text_model.{path}" if path.startswith("encoder.") else path


def _original(path: str, blocks: Mapping[str, str]) -> str | None:
    if path in OUTER:
        return OUTER[path]
    found = PART.search(path)
    block = None if found is None else blocks.get(path[: found.start(3) - 1])
    if found is None or block is None:
        return None
    kind, inner = found[1], found[3]
    if kind == "attentions":
        return f"{block}.{inner}"
    if kind == "resnets":
        return f"{block}.{RESNET[inner]}" if inner in RESNET else None
    return f"{block}.{'op' if kind == 'downsamplers' else 'conv'}" if inner == "conv" else None


def _count(block: nn.Module, part: str) -> int:
    return len(list(getattr(block, part, None) or ()))


def _flat(path: str) -> str:
    return path.replace(".", "_")
