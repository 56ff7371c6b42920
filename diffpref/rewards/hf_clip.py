"""A CLIP ViT hosted by transformers, its sizes read off the weights themselves."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from diffpref.rewards.clip_keys import to_transformers
from diffpref.rewards.state import State, Stored, WeightsMismatchError, count, mismatch
from diffpref.rewards.tokenizers import END, START

_TEXT_HEADS = {512: 8, 640: 10, 768: 12, 1024: 16, 1280: 20}
_VISION_HEADS = {768: 12, 896: 14, 1024: 16, 1280: 16, 1408: 16, 1664: 16}
"""Attention heads of the published sizes; other widths have heads of 64."""


class HostedClip(nn.Module):
    """transformers' CLIP with open_clip's two verbs; embeddings are projected, not normalised.

    `side` is the height and width of what the vision tower sees, in pixels, `width` that of an
    embedding.
    """

    def __init__(self, clip: CLIPModel, side: int) -> None:
        super().__init__()
        self.clip, self.side, self.width = clip, side, clip.projection_dim

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of the scale."""
        return self.clip.logit_scale

    def encode_image(self, image: Tensor, /) -> Tensor:
        pooled = self.clip.vision_model(pixel_values=image).pooler_output
        return self.clip.visual_projection(pooled)

    def encode_text(self, text: Tensor, /) -> Tensor:
        return self.clip.text_projection(self.clip.text_model(input_ids=text).pooler_output)


def host(stored: Stored, *, quick_gelu: bool, expect: int | None) -> tuple[HostedClip, str]:
    """Return the CLIP of some weights in float32, frozen, and the layout they came in.

    The activation cannot be read off weights: OpenAI's models have QuickGELU, laion's ViT-H GELU.
    A config.json beside the weights decides if it names one.

    Args:
        stored: the weights.
        quick_gelu: the activation if no config says it.
        expect: how many numbers the published model has, or None.

    Raises:
        WeightsMismatchError: not a whole CLIP ViT, or of another size than expected.
    """
    state, layout = to_transformers(stored.state, stored.where)
    config = config_of(state, stored.config, quick_gelu=quick_gelu, where=stored.where)
    with torch.device("meta"):
        clip = CLIPModel(config)
    missing, unexpected = fill(clip, state)
    if missing or unexpected:
        hint = "give the whole model: image tower, text tower and both projections"
        raise mismatch(stored.where, f"CLIP in {layout}'s layout", missing, unexpected, hint)
    check_size(state, expect, stored.where)
    side = _sizes(state)[1]["image_size"]
    return HostedClip(clip, side).eval().requires_grad_(False), layout


def check_size(state: State, expect: int | None, where: str) -> None:
    """Refuse weights of another size than the published ones.

    Raises:
        WeightsMismatchError: they have another number of numbers.
    """
    if expect is not None and count(state) != expect:
        what = f"these weights hold {count(state):,} numbers, the published ones {expect:,}"
        hint = "for weights of your own: load_scorer(..., published=False), or --any-size"
        raise WeightsMismatchError(what, where=where, hint=hint)


def fill(net: nn.Module, state: State) -> tuple[list[str], list[str]]:
    """Put a state into a network built on the meta device; return missing and unexpected names.

    Weights become float32; position ids, which no file holds any more, are counted out.
    """
    wide = {n: v.float() if v.is_floating_point() else v for n, v in state.items()}
    found = net.load_state_dict(wide, strict=False, assign=True)
    for name, buffer in list(net.named_buffers()):
        if buffer.is_meta and name.endswith("position_ids"):
            parent = net.get_submodule(name.rpartition(".")[0])
            parent.register_buffer(
                "position_ids", torch.arange(buffer.shape[-1])[None], persistent=False
            )
    return list(found.missing_keys), list(found.unexpected_keys)


def config_of(state: State, told: Mapping[str, Any], *, quick_gelu: bool, where: str) -> CLIPConfig:
    """Return the config whose sizes a state in transformers' layout has.

    Raises:
        WeightsMismatchError: the tensors that tell the sizes are not all there.
    """
    try:
        text, vision, space = _sizes(state)
    except KeyError as error:
        hint = "give the whole model: image tower, text tower and both projections"
        raise WeightsMismatchError(f"{error} is missing", where=where, hint=hint) from error
    named = told.get("vision_config", {}).get("hidden_act") or told.get("hidden_act")
    act = named or ("quick_gelu" if quick_gelu else "gelu")
    shared = {"hidden_act": act, "projection_dim": space}
    return CLIPConfig(
        text_config=text | shared, vision_config=vision | shared, projection_dim=space
    )


def _sizes(state: State) -> tuple[dict[str, Any], dict[str, Any], int]:
    words = state["text_model.embeddings.token_embedding.weight"]
    places = state["text_model.embeddings.position_embedding.weight"]
    patches = state["vision_model.embeddings.patch_embedding.weight"]
    spots = state["vision_model.embeddings.position_embedding.weight"]
    width, patch = patches.shape[0], patches.shape[-1]
    grid = round((spots.shape[0] - 1) ** 0.5)
    text = {
        "vocab_size": words.shape[0],
        "hidden_size": words.shape[1],
        "intermediate_size": _inner(state, "text_model"),
        "num_hidden_layers": _depth(state, "text_model"),
        "num_attention_heads": _TEXT_HEADS.get(words.shape[1], max(1, words.shape[1] // 64)),
        "max_position_embeddings": places.shape[0],
        "bos_token_id": START,
        "eos_token_id": END,
    }
    vision = {
        "hidden_size": width,
        "intermediate_size": _inner(state, "vision_model"),
        "num_hidden_layers": _depth(state, "vision_model"),
        "num_attention_heads": _VISION_HEADS.get(width, max(1, width // 64)),
        "image_size": grid * patch,
        "patch_size": patch,
    }
    return text, vision, state["text_projection.weight"].shape[0]


def _inner(state: State, tower: str) -> int:
    return state[f"{tower}.encoder.layers.0.mlp.fc1.weight"].shape[0]


def _depth(state: State, tower: str) -> int:
    ahead = f"{tower}.encoder.layers."
    return 1 + max(
        int(name.removeprefix(ahead).split(".")[0]) for name in state if name.startswith(ahead)
    )
