"""A tiny random Stable Cascade in its published layouts: stage C, its encoder's file, stage B."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDPMWuerstchenScheduler,
    StableCascadeDecoderPipeline,
    StableCascadePriorPipeline,
)
from diffusers.models.unets.unet_stable_cascade import StableCascadeUNet
from diffusers.pipelines.stable_cascade.pipeline_stable_cascade import PaellaVQModel
from torch import Tensor, nn
from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig

from diffpref.io import save_tensors
from diffpref.models.cascade.effnet import FILE
from diffpref.models.cascade.stage_b import FOLDER
from tests.models.conftest import make_text, make_tokenizer

WIDTH = 16
IMAGE = 12


def small_unet(**changes: Any) -> StableCascadeUNet:
    """Return a StableCascadeUNet of two levels; `changes` make it stage C or stage B."""
    kinds = ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock")
    told: dict[str, Any] = {
        "timestep_ratio_embedding_dim": 8,
        "conditioning_dim": 12,
        "block_out_channels": (8, 16),
        "num_attention_heads": (2, 4),
        "down_num_layers_per_block": (1, 1),
        "up_num_layers_per_block": (1, 1),
        "down_blocks_repeat_mappers": (1, 1),
        "up_blocks_repeat_mappers": (1, 1),
        "block_types_per_layer": (kinds, kinds),
        "clip_text_pooled_in_channels": WIDTH,
        "dropout": (0.0, 0.0),
    }
    return StableCascadeUNet(**(told | changes))


def stage_c() -> StableCascadeUNet:
    return small_unet(
        in_channels=4,
        out_channels=4,
        clip_text_in_channels=WIDTH,
        clip_image_in_channels=IMAGE,
        switch_level=(False,),
    )


def stage_b() -> StableCascadeUNet:
    return small_unet(in_channels=4, out_channels=4, patch_size=2, effnet_in_channels=4, clip_seq=1)


def effnet_state(channels: int = 4) -> dict[str, Tensor]:
    """Return weights of an EfficientNetV2 of one layer a stage, in the published layout."""
    stages: list[Any] = [
        FusedMBConvConfig(1, 3, 1, 8, 8, 1),
        FusedMBConvConfig(2, 3, 2, 8, 8, 2),
        FusedMBConvConfig(2, 3, 2, 8, 8, 1),
        MBConvConfig(2, 3, 2, 8, 8, 1),
        MBConvConfig(2, 3, 1, 8, 8, 2),
        MBConvConfig(2, 3, 2, 8, 16, 1),
    ]
    net = EfficientNet(stages, dropout=0.0, last_channel=24, norm_layer=nn.BatchNorm2d)
    mapper = nn.Sequential(
        nn.Conv2d(24, channels, 1, bias=False), nn.BatchNorm2d(channels, affine=False)
    )
    parts = {"backbone": net.features, "mapper": mapper}
    return {
        f"{n}.{key}": value for n, each in parts.items() for key, value in each.state_dict().items()
    }


def write_cascade(folder: Path, *, decoder: bool = True) -> Path:
    """Write stage C's pipeline with the encoder's file in it, and stage B below it."""
    torch.manual_seed(5)
    tokenizer = make_tokenizer(24)
    text: Any = make_text(tokenizer, layers=2, width=WIDTH, projected=True)
    stock: Any = StableCascadePriorPipeline
    stock(
        tokenizer=tokenizer,
        text_encoder=text,
        prior=stage_c(),
        scheduler=DDPMWuerstchenScheduler(),
    ).save_pretrained(str(folder))
    save_tensors(folder / FILE, effnet_state(), {"format": "pt"})
    if decoder:
        stock = StableCascadeDecoderPipeline
        stock(
            tokenizer=tokenizer,
            text_encoder=text,
            decoder=stage_b(),
            scheduler=DDPMWuerstchenScheduler(),
            vqgan=PaellaVQModel(
                bottleneck_blocks=1, embed_dim=8, latent_channels=4, num_vq_embeddings=16
            ),
        ).save_pretrained(str(folder / FOLDER))
    return folder
