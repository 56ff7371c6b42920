"""CLIP-FlanT5: a T5 that reads pictures, hosted by transformers' T5 and CLIP vision tower."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, T5Config, T5ForConditionalGeneration

from diffpref.errors import DataError
from diffpref.rewards.hollow import hollow, pour
from diffpref.rewards.info import WeightRef
from diffpref.rewards.sight import Pixels
from diffpref.rewards.state import State, Stored, WeightsMismatchError, bare, under

LAYOUT = "clip-flant5"
_SHARED, _HEAD = "shared.weight", "lm_head.weight"
_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
_UNUSED = (
    "embed_tokens.weight",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
)
_TOWER, _PROJECTOR = "vision_tower.", "mm_projector."


class ClipT5(nn.Module):
    """The three networks; `side` is the height and width the tower sees, in pixels."""

    def __init__(
        self, t5: T5ForConditionalGeneration, tower: CLIPVisionModel, projector: nn.Sequential
    ) -> None:
        super().__init__()
        self.t5, self.tower, self.projector = t5, tower, projector
        side: Any = tower.config.image_size
        self.side = int(side)

    def see(self, seen: Pixels, /) -> Float[Tensor, "n p d"]:
        """Return one T5 embedding per patch: the tower before its last layer, projected."""
        states: Any = self.tower(pixel_values=seen, output_hidden_states=True).hidden_states
        return self.projector(states[-2][:, 1:])


def host(
    stored: Stored, vision: Callable[[], Stored], *, words: int, dtype: torch.dtype
) -> tuple[ClipT5, tuple[WeightRef, ...]]:
    """Return CLIP-FlanT5 from its weights, frozen, and the files it came from.

    Args:
        stored: T5 and projector with T5's config; the vision tower too, or not.
        vision: CLIP ViT-L/14-336, read only if the tower is not in `stored`.
        words: how many tokens the tokenizer has. Embedding and head are cut to as many, as the
            released code does: the rows that fill them up take no share of the probability.
        dtype: of all three.

    Raises:
        DataError: the config is not T5's, or the tokenizer knows more words than the weights.
        WeightsMismatchError: weights are missing, or of other shapes.
    """
    state = bare(stored.state, prefixes=("module.", "_orig_mod."))
    tower = under(state, _TOWER)
    used = stored.refs(LAYOUT)
    if not tower:
        apart = vision()
        tower, used = apart.state, (*used, *apart.refs("transformers"))
    projector = under(state, _PROJECTOR)
    words_state = {n: v for n, v in state.items() if not n.startswith((_TOWER, _PROJECTOR))}
    net = ClipT5(
        _t5(words_state, stored.config, stored.where, words=words, dtype=dtype),
        _tower(tower, stored.where, dtype=dtype),
        _projector(projector, stored.where, dtype=dtype),
    )
    return net.eval(), used


def _t5(
    state: State, told: Mapping[str, Any], where: str, *, words: int, dtype: torch.dtype
) -> T5ForConditionalGeneration:
    state = {name: value for name, value in state.items() if name not in _UNUSED}
    if _SHARED not in state:
        hint = "give the folder of clip-flant5-xl or -xxl"
        raise WeightsMismatchError(f"{_SHARED} is missing", where=where, hint=hint)
    rows = len(state[_SHARED])
    if words > rows:
        what = f"the tokenizer has {words} tokens, the weights {rows}"
        raise DataError(what, where=where, hint="give the tokenizer of google/flan-t5-xl or -xxl")
    shared = state[_SHARED][:words]
    state |= dict.fromkeys((_SHARED, *_COPIES), shared)
    state[_HEAD] = state[_HEAD][:words] if _HEAD in state else shared
    config = _t5_config(told, words, where)
    net = hollow(lambda: T5ForConditionalGeneration(config))
    return pour(net, state, dtype=dtype, where=where, layout=LAYOUT)


def _t5_config(told: Mapping[str, Any], words: int, where: str) -> T5Config:
    fields = {k: v for k, v in told.items() if k not in ("model_type", "architectures")}
    try:
        if "d_model" not in fields:
            raise KeyError("d_model is missing")
        config: Any = T5Config.from_dict({"decoder_start_token_id": 0, **fields})
    except (StrictDataclassError, TypeError, ValueError, KeyError) as error:
        what = f"config.json is not a T5 config: {str(error).splitlines()[0]}"
        raise DataError(what, where=where, hint="fetch config.json again") from error
    config.vocab_size = words
    return config


def _tower(state: State, where: str, *, dtype: torch.dtype) -> CLIPVisionModel:
    state = bare(state, prefixes=("vision_tower.", "module."))
    state = under(state, "vision_model.") or state
    state = {name: value for name, value in state.items() if not name.endswith("position_ids")}
    try:
        config = _tower_config(state)
    except (KeyError, ValueError) as error:
        what, hint = f"the vision tower is not CLIP's: {error}", "give CLIP ViT-L/14-336"
        raise WeightsMismatchError(what, where=where, hint=hint) from error
    net = hollow(lambda: CLIPVisionModel(config))
    if any(name.startswith("vision_model.") for name in net.state_dict()):
        state = {f"vision_model.{name}": value for name, value in state.items()}
    return pour(net, state, dtype=dtype, where=where, layout="CLIP vision tower")


def _tower_config(state: State) -> CLIPVisionConfig:
    patches = state["embeddings.patch_embedding.weight"]
    spots = len(state["embeddings.position_embedding.weight"])
    layers = {name.split(".")[2] for name in state if name.startswith("encoder.layers.")}
    width, patch = patches.shape[0], patches.shape[-1]
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=state["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=len(layers),
        num_attention_heads=max(1, width // 64),
        image_size=round((spots - 1) ** 0.5) * patch,
        patch_size=patch,
        hidden_act="quick_gelu",
    )


def _projector(state: State, where: str, *, dtype: torch.dtype) -> nn.Sequential:
    shapes = [state[f"{number}.weight"].shape for number in (0, 2) if f"{number}.weight" in state]
    if len(shapes) != 2:
        what, hint = "mm_projector.0 or .2 is missing", "give the folder of clip-flant5-xl or -xxl"
        raise WeightsMismatchError(what, where=where, hint=hint)
    first, second = (lambda s=shape: nn.Linear(s[1], s[0]) for shape in shapes)
    net = hollow(lambda: nn.Sequential(first(), nn.GELU(), second()))
    return pour(net, state, dtype=dtype, where=where, layout=LAYOUT, prefix=_PROJECTOR)
