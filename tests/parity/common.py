"""Two tiny networks per family and the inputs of a step, the same on every machine.

Weights are sines of their index, so that no random generator's version matters.
"""

from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from diffpref.draws import Draws

BETAS = {"start": 0.00085, "end": 0.012, "length": 1000}
POSITIONS = torch.tensor([3, 10, 17, 24])
SEED = 0
SIDE, CHANNELS, TOKENS = 8, 4, 6
WIDTHS = {"sd15": 16, "sdxl": 40}
POOLED = 24


def make_unet(family: str, *, moved: float = 0.0) -> UNet2DConditionModel:
    """Return a UNet of a family's architecture; `moved` shifts every weight a little."""
    extra: dict[str, Any] = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 6 * 4 + POOLED,
        "transformer_layers_per_block": 1,
        "use_linear_projection": True,
    }
    net = UNet2DConditionModel(
        sample_size=SIDE,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=WIDTHS[family],
        **(extra if family == "sdxl" else {}),
    ).double()
    with torch.no_grad():
        for number, (name, value) in enumerate(net.named_parameters()):
            index = torch.arange(value.numel(), dtype=torch.float64) + 7 * number
            wave = 0.15 * torch.sin(1.7 * index) + moved * torch.sin(2.3 * index)
            base = 1.0 if name.endswith("weight") and value.dim() == 1 else 0.0
            value.copy_((base + wave).view_as(value))
    return net.requires_grad_(False)


def wave(*shape: int, speed: float) -> Tensor:
    """Return numbers that look like noise: unit-variance sines."""
    count = int(torch.tensor(shape).prod())
    index = torch.arange(count, dtype=torch.float64)
    return (2**0.5 * torch.sin(speed * index * (1 + 0.01 * index))).view(shape)


def inputs(family: str, images: int) -> dict[str, Tensor]:
    """Return latents [b k c h w] and the conditioning of b prompts."""
    b = len(POSITIONS)
    found = {
        "latents": wave(b, images, CHANNELS, SIDE, SIDE, speed=0.73),
        "text": wave(b, TOKENS, WIDTHS[family], speed=0.31),
    }
    if family == "sdxl":
        found["pooled"] = wave(b, POOLED, speed=0.57)
        # The released scripts tell every image the same: full size, no crop.
        found["time_ids"] = torch.tensor([[64.0, 64, 0, 0, 64, 64]]).double().expand(b, 6)
    return found


def draws() -> Draws:
    """Return the random numbers of the step; inputs, not part of what is compared."""
    return Draws(SEED, POSITIONS)
