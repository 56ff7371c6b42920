"""Stock diffusion models behind our own words: load, encode, denoise, adapt, save."""

from diffpref.models.attention import set_attention
from diffpref.models.bundle import Bundle
from diffpref.models.checkpointing import set_checkpointing
from diffpref.models.embedder import UNetEmbedder, embedder_of
from diffpref.models.family import FAMILIES, LORA_TARGETS, SD15, SDXL, Family
from diffpref.models.load import DTYPES, load_bundle
from diffpref.models.lora import (
    AdapterConfig,
    adapters_off,
    has_adapters,
    make_adapter,
    trainable_parameters,
)
from diffpref.models.lora_files import load_lora, save_lora
from diffpref.models.memory import (
    fingerprint,
    freeze,
    frozen_copy,
)
from diffpref.models.pipeline import merged, merged_encoder, save_pipeline, to_pipeline
from diffpref.models.unet import UNetDenoiser, make_denoiser
from diffpref.models.user_adapter import UserAdapter, user_adapter_of
from diffpref.models.user_files import load_user_adapter, save_user_adapter
from diffpref.models.user_install import add_user_adapter

__all__ = [
    "DTYPES",
    "FAMILIES",
    "LORA_TARGETS",
    "SD15",
    "SDXL",
    "AdapterConfig",
    "Bundle",
    "Family",
    "UNetDenoiser",
    "UNetEmbedder",
    "UserAdapter",
    "adapters_off",
    "add_user_adapter",
    "embedder_of",
    "fingerprint",
    "freeze",
    "frozen_copy",
    "has_adapters",
    "load_bundle",
    "load_lora",
    "load_user_adapter",
    "make_adapter",
    "make_denoiser",
    "merged",
    "merged_encoder",
    "save_lora",
    "save_pipeline",
    "save_user_adapter",
    "set_attention",
    "set_checkpointing",
    "to_pipeline",
    "trainable_parameters",
    "user_adapter_of",
]
