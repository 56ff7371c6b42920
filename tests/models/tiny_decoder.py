"""A tiny random AutoencoderTiny that turns latents into pictures eight times as wide."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny


def write_tiny_decoder(folder: Path, **changes: Any) -> Path:
    """Write it in the stock layout; `changes` are of its config."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tiny: Any = AutoencoderTiny(
            encoder_block_out_channels=(4,) * 4,
            decoder_block_out_channels=(4,) * 4,
            num_encoder_blocks=(1,) * 4,
            num_decoder_blocks=(1,) * 4,
            **changes,
        )
    with torch.no_grad():  # pictures neither black nor nearly of one colour
        last = tiny.decoder.layers[-1]
        last.bias.fill_(0.5)
        last.weight.mul_(5)
    tiny.save_pretrained(folder)
    return folder
