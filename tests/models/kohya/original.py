"""The layers of the released Stable Diffusion UNets, from how the released code builds them.

One loop per list of blocks, as the released `UNetModel` has them: it knows nothing of our tables.
Every layer comes with its two names: in the released checkpoint, and in diffusers' network. Run
this file to write the recorded lists of what sd-scripts calls them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
RESNET = {
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
INNER = [f"{each}.to_{end}" for each in ("attn1", "attn2") for end in ("q", "k", "v", "out.0")]
INNER += ["ff.net.0.proj", "ff.net.2"]
Names = tuple[str, str]


@dataclass(frozen=True)
class Released:
    """What the released configuration files say: `depth` of every level's transformers, 0 none."""

    channels: int
    mult: tuple[int, ...]
    depth: tuple[int, ...]
    middle: int
    repeats: int = 2


SD15 = Released(320, (1, 2, 4, 4), (1, 1, 1, 0), 1)
SDXL = Released(320, (1, 2, 4), (0, 2, 10), 10)


def layers(net: Released) -> Iterator[Names]:
    """Yield (released name, diffusers name) of every layer that sd-scripts adapts."""
    seen = [net.channels]
    width, number = net.channels, 1
    for level, mult in enumerate(net.mult):
        for repeat in range(net.repeats):
            here = f"down_blocks.{level}"
            yield from resnet(
                f"input_blocks.{number}.0", f"{here}.resnets.{repeat}", width != mult * net.channels
            )
            width = mult * net.channels
            yield from transformer(
                f"input_blocks.{number}.1", f"{here}.attentions.{repeat}", net.depth[level]
            )
            seen.append(width)
            number += 1
        if level < len(net.mult) - 1:
            yield f"input_blocks.{number}.0.op", f"down_blocks.{level}.downsamplers.0.conv"
            seen.append(width)
            number += 1
    yield from resnet("middle_block.0", "mid_block.resnets.0", False)
    yield from transformer("middle_block.1", "mid_block.attentions.0", net.middle)
    yield from resnet("middle_block.2", "mid_block.resnets.1", False)
    yield from upwards(net, seen, width)


def upwards(net: Released, seen: list[int], width: int) -> Iterator[Names]:
    number = 0
    for block, level in enumerate(reversed(range(len(net.mult)))):
        for repeat in range(net.repeats + 1):
            here = f"up_blocks.{block}"
            out = net.mult[level] * net.channels
            yield from resnet(
                f"output_blocks.{number}.0", f"{here}.resnets.{repeat}", width + seen.pop() != out
            )
            width, last = out, 1
            if net.depth[level]:
                yield from transformer(
                    f"output_blocks.{number}.1", f"{here}.attentions.{repeat}", net.depth[level]
                )
                last = 2
            if level and repeat == net.repeats:
                yield f"output_blocks.{number}.{last}.conv", f"{here}.upsamplers.0.conv"
            number += 1


def resnet(released: str, stock: str, skips: bool) -> Iterator[Names]:
    for one, two in RESNET.items():
        if skips or one != "skip_connection":
            yield f"{released}.{one}", f"{stock}.{two}"


def transformer(released: str, stock: str, depth: int) -> Iterator[Names]:
    if depth:
        for end in ("proj_in", "proj_out"):
            yield f"{released}.{end}", f"{stock}.{end}"
    for block in range(depth):
        for inner in INNER:
            end = f"transformer_blocks.{block}.{inner}"
            yield f"{released}.{end}", f"{stock}.{end}"


def names(family: str) -> list[str]:
    """Return what sd-scripts calls the layers: SDXL by released names, SD1.5 by diffusers'."""
    net, which = (SDXL, 0) if family == "sdxl" else (SD15, 1)
    return sorted("lora_unet_" + pair[which].replace(".", "_") for pair in layers(net))


def recorded(family: str) -> list[str]:
    return (HERE / f"{family}.txt").read_text(encoding="utf-8").split()


if __name__ == "__main__":
    for each in ("sd15", "sdxl"):
        (HERE / f"{each}.txt").write_text("\n".join(names(each)) + "\n", encoding="utf-8")
