"""A SigLIP vision tower hosted by transformers, its sizes read off the weights."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from diffpref.rewards.hf_clip import check_size, fill
from diffpref.rewards.state import State, Stored, WeightsMismatchError, bare, mismatch

VISION = "vision_model."
_BESIDE = ("text_model.", "logit_scale", "logit_bias")
"""What a whole SigLIP has beside its vision tower."""

_HEADS = {1152: 16}
"""Attention heads of so400m; other widths have heads of 64."""

_SIDE = 384
"""What so400m-patch14-384 sees; 27 patches of 14 do not fill it, so weights alone say 378."""

_HINT = "give a SigLIP with its attention pooling, or its vision tower"


class HostedSiglip(nn.Module):
    """transformers' SigLIP tower; an embedding is its attention-pooled output, not normalised.

    `side` is the height and width of what the tower sees, in pixels, `width` that of an embedding.
    """

    def __init__(self, tower: nn.Module, side: int, width: int) -> None:
        super().__init__()
        self.tower, self.side, self.width = tower, side, width

    def encode_image(self, image: Tensor, /) -> Float[Tensor, "n d"]:
        return self.tower(pixel_values=image).pooler_output


def host_siglip(stored: Stored, expect: int | None) -> tuple[HostedSiglip, str]:
    """Return the vision tower of some weights in float32, frozen, and the layout they came in.

    A whole SigLIP's text tower is left out. A config.json beside the weights decides the number of
    heads, the activation and the side if it names them.

    Args:
        stored: the weights.
        expect: how many numbers the published tower has, or None.

    Raises:
        WeightsMismatchError: not a SigLIP tower with its pooling, or of another size.
    """
    state, layout = tower_state(stored.state)
    config = config_of(state, stored.config, where=stored.where)
    with torch.device("meta"):
        tower = SiglipVisionModel(config)
    # earlier releases of transformers keep the prefix inside this class too
    inside = VISION if next(iter(tower.state_dict())).startswith(VISION) else ""
    missing, unexpected = fill(tower, {inside + name: value for name, value in state.items()})
    if missing or unexpected:
        raise mismatch(stored.where, f"SigLIP ({layout})", missing, unexpected, _HINT)
    check_size(state, expect, stored.where)
    assert isinstance(config.image_size, int)
    hosted = HostedSiglip(tower, config.image_size, config.hidden_size)
    return hosted.eval().requires_grad_(False), layout


def tower_state(state: State) -> tuple[State, str]:
    """Return a vision tower's weights without a prefix, and the layout they were found in."""
    state = {name: v for name, v in bare(state).items() if not name.endswith("position_ids")}
    prefixed = any(name.startswith(VISION) for name in state)
    whole = any(name.startswith(_BESIDE) for name in state)
    layout = "siglip" if whole else "siglip-vision" if prefixed else "siglip-vision-bare"
    return {
        name.removeprefix(VISION): value
        for name, value in state.items()
        if not name.startswith(_BESIDE)
    }, layout


def config_of(state: State, told: Mapping[str, Any], *, where: str) -> SiglipVisionConfig:
    """Return the config whose sizes a tower's weights have.

    Raises:
        WeightsMismatchError: tensors that tell the sizes are missing, or the folder's config says
            a side that the positions do not fit.
    """
    told = told.get("vision_config", told)
    try:
        patches = state["embeddings.patch_embedding.weight"]
        spots = state["embeddings.position_embedding.weight"].shape[0]
        inner = state["encoder.layers.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise WeightsMismatchError(f"{error} is missing", where=where, hint=_HINT) from error
    width, patch, grid = patches.shape[0], patches.shape[-1], round(spots**0.5)
    side = told.get("image_size")
    if not isinstance(side, int):
        side = _SIDE if _SIDE // patch == grid else grid * patch
    if side // patch != grid:
        what = f"config.json says image_size {side}, the weights have {grid} x {grid} positions"
        raise WeightsMismatchError(what, where=where, hint="fetch config.json and weights together")
    layers = {name.split(".")[2] for name in state if name.startswith("encoder.layers.")}
    return SiglipVisionConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=len(layers),
        num_attention_heads=told.get("num_attention_heads", _HEADS.get(width, max(1, width // 64))),
        image_size=side,
        patch_size=patch,
        hidden_act=told.get("hidden_act", "gelu_pytorch_tanh"),
        layer_norm_eps=told.get("layer_norm_eps", 1e-6),
    )
