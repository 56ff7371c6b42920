"""The published architectures of the families' bases: facts of their configs, no weights."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from diffpref.models.family import SD15, SDXL

Config = Mapping[str, Any]

VAE: Config = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
CLIP_L: Config = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
CLIP_BIG_G: Config = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
STOCK: Mapping[str, Mapping[str, Config]] = MappingProxyType(
    {
        SD15.name: {
            "unet": {
                "sample_size": 64,
                "block_out_channels": (320, 640, 1280, 1280),
                "cross_attention_dim": 768,
                "attention_head_dim": 8,
            },
            "vae": VAE,
            "text_encoder": CLIP_L,
        },
        SDXL.name: {
            "unet": {
                "sample_size": 128,
                "block_out_channels": (320, 640, 1280),
                "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                "transformer_layers_per_block": (1, 2, 10),
                "attention_head_dim": (5, 10, 20),
                "cross_attention_dim": 2048,
                "use_linear_projection": True,
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": 2816,
            },
            "vae": VAE,
            "text_encoder": CLIP_L,
            "text_encoder_2": CLIP_BIG_G,
        },
    }
)
"""Family -> folder of the diffusers layout -> what differs from the library's defaults."""
