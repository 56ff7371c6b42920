"""The layouts of a BLIP encoder, recognised by their keys and translated into transformers'."""

import re

import torch
from torch import Tensor
from torch.nn import functional

from diffpref.rewards.state import State, WeightsMismatchError, bare

IMAGEREWARD, SALESFORCE, HUGGING_FACE = "imagereward", "salesforce", "transformers"

POSITIONS = "vision_model.embeddings.position_embedding"
"""Key of the position embeddings, [1, 1 + grid x grid, width], the class token's first."""

_BUFFER = re.compile(r"(.*\.)?position_ids")
_TRAINING = re.compile(
    r"((visual|text)_encoder_m|(vision|text)_proj_m|text_decoder)\..+"
    r"|(image|text|idx|ptr)_queue|queue_ptr|temp"
)
"""Momentum copies, queues, the captioning decoder: in Salesforce's files, of no use for scoring."""

_PLAIN = {
    "visual_encoder.cls_token": "vision_model.embeddings.class_embedding",
    "visual_encoder.pos_embed": POSITIONS,
    "visual_encoder.patch_embed.proj.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual_encoder.patch_embed.proj.bias": "vision_model.embeddings.patch_embedding.bias",
    "visual_encoder.norm.weight": "vision_model.post_layernorm.weight",
    "visual_encoder.norm.bias": "vision_model.post_layernorm.bias",
}
_IN_BLOCK = {
    "norm1": "layer_norm1",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
    "norm2": "layer_norm2",
}
_BLOCK = re.compile(r"visual_encoder\.blocks\.(\d+)\.(.+)\.(weight|bias)")


def to_transformers(state: State, where: str) -> tuple[State, str]:
    """Return a BLIP state under transformers' keys, and the layout it came in.

    Only the image tower is named differently. ImageReward's prefix, position ids and, in
    Salesforce's files, what only training needs are taken off; heads keep their names.

    Raises:
        WeightsMismatchError: no layout of BLIP.
    """
    state = bare({name: value for name, value in state.items() if not _BUFFER.fullmatch(name)})
    plain = {name.removeprefix("blip."): value for name, value in state.items()}
    if any(name.startswith("vision_model.") for name in plain):
        return plain, HUGGING_FACE
    if not any(name.startswith("visual_encoder.") for name in plain):
        found = ", ".join(sorted(state)[:5])
        what = f"these are no BLIP weights in any known layout: {found}"
        hint = "give the model's own file; `diffpref scorers where NAME` says which"
        raise WeightsMismatchError(what, where=where, hint=hint)
    layout = IMAGEREWARD if plain.keys() != state.keys() else SALESFORCE
    if layout == SALESFORCE:
        plain = {name: value for name, value in plain.items() if not _TRAINING.fullmatch(name)}
    return {_translated(name): value for name, value in plain.items()}, layout


def resized(positions: Tensor, grid: int) -> Tensor:
    """Return position embeddings for a grid of grid x grid patches; the class token keeps its own.

    The patches' are resized bicubically, without antialiasing, as BLIP's loader does.
    """
    old = round((positions.shape[1] - 1) ** 0.5)
    if old == grid:
        return positions
    plane = positions[:, 1:].unflatten(1, (old, old)).permute(0, 3, 1, 2)
    plane = functional.interpolate(plane.float(), size=(grid, grid), mode="bicubic")
    patches = plane.permute(0, 2, 3, 1).flatten(1, 2)
    return torch.cat([positions[:, :1].float(), patches], dim=1)


def _translated(name: str) -> str:
    if name in _PLAIN:
        return _PLAIN[name]
    block = _BLOCK.fullmatch(name)
    if block is None:
        return name
    number, inner, kind = block.groups()
    return f"vision_model.encoder.layers.{number}.{_IN_BLOCK.get(inner, inner)}.{kind}"
