"""Our bundle as a stock pipeline, in memory and on disk."""

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from peft.tuners.lora import LoraLayer

from diffpref.errors import ConfigError
from diffpref.io import replace_folder
from diffpref.models.bundle import Bundle
from diffpref.models.family import SD15
from diffpref.models.lora import has_adapters
from diffpref.models.memory import cast_weights
from diffpref.models.quiet import quiet
from diffpref.models.text import Encoder
from diffpref.models.user_adapter import user_adapter_of

StockPipeline = StableDiffusionPipeline | StableDiffusionXLPipeline


def to_pipeline(bundle: Bundle) -> StockPipeline:
    """Return the stock pipeline around the bundle's own networks.

    In half precision the autoencoder is a copy in that precision, as the stock pipelines expect;
    SDXL's stock pipeline widens it again by itself. For images that cannot overflow, ask the
    pipeline for latents and decode them with the bundle.
    """
    half = bundle.dtype in (torch.float16, torch.bfloat16)
    vae = cast_weights(deepcopy(bundle.sd_vae), bundle.dtype) if half else bundle.sd_vae
    return assemble(bundle, vae)


def assemble(bundle: Bundle, vae: AutoencoderKL) -> StockPipeline:
    """Return the stock pipeline with a given autoencoder."""
    text, scheduler = bundle.text, bundle.scheduler
    parts: dict[str, Any] = {
        "vae": vae,
        "unet": bundle.unet,
        "scheduler": type(scheduler).from_config(scheduler.config),
    }
    for tower, tokenizer, encoder in zip(
        bundle.family.towers, text.tokenizers, text.encoders, strict=True
    ):
        parts |= {tower.tokenizer: tokenizer, tower.encoder: encoder}
    if bundle.family.pipeline == SD15.pipeline:
        checker: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
        pipe = StableDiffusionPipeline(**parts, **checker, requires_safety_checker=False)
    else:
        pipe = StableDiffusionXLPipeline(
            **parts, force_zeros_for_empty_prompt=text.zero_uncond, add_watermarker=False
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def save_pipeline(folder: Path, bundle: Bundle, *, dtype: torch.dtype | None = None) -> None:
    """Write a folder that stock `from_pretrained` loads; a LoRA is folded into the weights.

    The folder appears complete or not at all, and says nothing about this machine.

    Args:
        folder: where to; an older pipeline there is replaced.
        bundle: what to write.
        dtype: precision of the files; None keeps each network's own.

    Raises:
        ConfigError: the folder holds something that is not a pipeline, or the UNet has a user
            adapter, which no pipeline folder has a place for.
    """
    if user_adapter_of(bundle.unet) is not None:
        hint = "save it by itself, and load it with pipe.load_ip_adapter"
        raise ConfigError("has a user adapter", where="out", hint=hint)
    if folder.exists() and any(folder.iterdir()) and not (folder / "model_index.json").is_file():
        raise ConfigError(
            f"{folder.name} holds something else",
            where="out",
            hint="choose a new folder, or one that holds a pipeline to replace",
        )
    pipe = assemble(bundle, bundle.sd_vae)
    pipe.register_modules(unet=merged(bundle.sd_unet), **_merged_encoders(bundle))
    if dtype is not None:
        pipe = _cast(pipe, dtype)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with quiet():
        pipe.save_pretrained(str(partial), safe_serialization=True)
    for config in partial.rglob("*.json"):
        _scrub(config)
    replace_folder(partial, folder)


def merged(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return the UNet with its LoRA folded in: a copy, or itself if it has none."""
    if not has_adapters(unet):
        return unet
    copy = deepcopy(unet)
    dtype = copy.conv_in.weight.dtype
    cast_weights(copy, torch.promote_types(dtype, torch.float32))  # fold in, then round once
    copy.fuse_lora()
    copy.unload_lora()
    return cast_weights(copy, dtype)


def merged_encoder(encoder: Encoder) -> Encoder:
    """Return a text encoder with its LoRA folded in: a copy, or itself if it has none.

    transformers would save the LoRA alone, and has no word for folding it in.
    """
    if not has_adapters(encoder):
        return encoder
    copy = deepcopy(encoder)
    dtype = next(copy.parameters()).dtype
    cast_weights(copy, torch.promote_types(dtype, torch.float32))
    for path, module in list(copy.named_modules()):
        if isinstance(module, LoraLayer):
            layer: Any = module
            layer.merge()
            parent, _, name = path.rpartition(".")
            setattr(copy.get_submodule(parent), name, layer.get_base_layer())
    stock: Any = copy
    del stock.peft_config
    stock._hf_peft_config_loaded = False
    return cast_weights(copy, dtype)


def _merged_encoders(bundle: Bundle) -> dict[str, Encoder]:
    towers = zip(bundle.family.towers, bundle.text.encoders, strict=True)
    return {tower.encoder: merged_encoder(encoder) for tower, encoder in towers}


def _cast(pipe: StockPipeline, dtype: torch.dtype) -> StockPipeline:
    nets = {
        name: cast_weights(deepcopy(part), dtype)
        for name, part in pipe.components.items()
        if isinstance(part, torch.nn.Module)
    }
    pipe.register_modules(**nets)
    return pipe


def _scrub(config: Path) -> None:
    """Take out the path a component was loaded from."""
    told = json.loads(config.read_bytes())
    if isinstance(told, dict) and told.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")
