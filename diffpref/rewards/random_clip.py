"""A CLIP of a published size with random weights: as fast and as large as the real one."""

import torch
from transformers import CLIPConfig, CLIPModel

from diffpref.errors import UsageError, nearest
from diffpref.rewards.clip import TwoTowerModel, times
from diffpref.rewards.frames import shortest
from diffpref.rewards.hf_clip import HostedClip
from diffpref.rewards.info import ScorerInfo
from diffpref.rewards.sight import Framed
from diffpref.rewards.tokenizers import OpenClipTokenizer

_FIELDS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")

SIZES = {
    "vit-b-32": ((512, 2048, 12, 8), (768, 3072, 12, 12), 32, 512),
    "vit-l-14": ((768, 3072, 12, 12), (1024, 4096, 24, 16), 14, 768),
    "vit-h-14": ((1024, 4096, 24, 16), (1280, 5120, 32, 16), 14, 1024),
}
"""Name -> text and vision (width, inner width, layers, heads), patch edge, embedding width."""


def full_config(size: str) -> CLIPConfig:
    """Return transformers' config of a published size.

    Raises:
        UsageError: an unknown size.
    """
    if size not in SIZES:
        raise UsageError(f"'{size}' is not a size", where="--size", hint=nearest(size, SIZES))
    text, vision, patch, space = SIZES[size]
    return CLIPConfig(
        text_config=dict(zip(_FIELDS, text, strict=True)) | {"projection_dim": space},
        vision_config=dict(zip(_FIELDS, vision, strict=True))
        | {"projection_dim": space, "patch_size": patch},
        projection_dim=space,
    )


def random_clip(
    size: str, *, device: torch.device, dtype: torch.dtype, seed: int = 0
) -> TwoTowerModel:
    """Return a two-tower scorer of a published size; its scores mean nothing.

    Raises:
        UsageError: an unknown size.
    """
    config = full_config(size)
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        clip = CLIPModel(config)
    net = HostedClip(clip, 224).eval().requires_grad_(False).to(device=device, dtype=dtype)
    sight = Framed(id="pillow/224/torchvision-centre", framing=shortest(224))
    info = ScorerInfo(
        name=f"random-{size}",
        kind="image-text",
        scale="100 x cosine of random embeddings",
        range_hint=(-100.0, 100.0),
        licence="none",
        differentiable=True,
        preprocess_id=sight.id,
    )
    return TwoTowerModel(
        info=info, net=net, tokenizer=OpenClipTokenizer(), sight=sight, finish=times(100.0)
    )
