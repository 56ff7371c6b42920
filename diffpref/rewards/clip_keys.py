"""The two layouts of a CLIP ViT, recognised by their keys and translated into transformers'."""

import re

import torch

from diffpref.rewards.state import State, WeightsMismatchError, bare

OPEN_CLIP, HUGGING_FACE, UNKNOWN = "open_clip", "transformers", "unknown"

_DROPPED = re.compile(
    r"(.*\.)?(position_ids|attn_mask|input_resolution|context_length|vocab_size|logit_bias)"
)
_PLAIN = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
_NORMS = {
    "ln_final": "text_model.final_layer_norm",
    "visual.ln_pre": "vision_model.pre_layrnorm",  # spelt so in transformers
    "visual.ln_post": "vision_model.post_layernorm",
}
_PROJECTIONS = {
    "text_projection": "text_projection.weight",
    "visual.proj": "visual_projection.weight",
}
_IN_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_LAYER = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")


def layout_of(state: State) -> str:
    """Return which layout the keys are of."""
    if "visual.conv1.weight" in state:
        return OPEN_CLIP
    if "vision_model.embeddings.patch_embedding.weight" in state:
        return HUGGING_FACE
    return UNKNOWN


def to_transformers(state: State, where: str) -> tuple[State, str]:
    """Return a CLIP state under transformers' keys, and the layout it came in.

    Prefixes and buffers that are no weights are taken off. The map is one to one: open_clip's
    joint attention weight is split into query, key and value, its projections are transposed.

    Raises:
        WeightsMismatchError: neither layout.
    """
    state = bare({name: value for name, value in state.items() if not _DROPPED.fullmatch(name)})
    layout = layout_of(state)
    if layout == HUGGING_FACE:
        return state, layout
    if layout == UNKNOWN:
        found = ", ".join(sorted(state)[:5])
        what = f"these are no CLIP weights in open_clip's or transformers' layout: {found}"
        hint = "give the model's own file; `diffpref scorers where NAME` says which"
        raise WeightsMismatchError(what, where=where, hint=hint)
    renamed: State = {}
    for name, value in state.items():
        renamed |= _translated(name, value)
    return renamed, layout


def _translated(name: str, value: torch.Tensor) -> State:
    if name in _PLAIN:
        return {_PLAIN[name]: value}
    if name in _PROJECTIONS:
        return {_PROJECTIONS[name]: value.T.contiguous()}
    stem, _, kind = name.rpartition(".")
    if stem in _NORMS:
        return {f"{_NORMS[stem]}.{kind}": value}
    layer = _LAYER.fullmatch(name)
    if layer is None:
        return {name: value}  # left as it is, so that loading names it as unexpected
    tower = "vision_model" if layer[1] else "text_model"
    ahead, inner = f"{tower}.encoder.layers.{layer[2]}", layer[3]
    if inner.startswith("attn.in_proj_"):
        kind = inner.removeprefix("attn.in_proj_")
        parts = zip("qkv", value.chunk(3), strict=True)
        return {f"{ahead}.self_attn.{p}_proj.{kind}": part.clone() for p, part in parts}
    stem, _, kind = inner.rpartition(".")
    return {f"{ahead}.{_IN_LAYER.get(stem, stem)}.{kind}": value}
