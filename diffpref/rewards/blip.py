"""A BLIP encoder hosted by transformers: an image tower, and BERT that may look at its output."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from diffpref.rewards.blip_keys import POSITIONS, resized, to_transformers
from diffpref.rewards.hf_clip import check_size, fill
from diffpref.rewards.state import State, Stored, WeightsMismatchError, mismatch

VISION_EPS = 1e-6
"""As in Salesforce's image tower; transformers' own default, 1e-5, moves features by 1e-5."""

MATCHING, RANKING = "itm_head", "mlp.layers"
"""The two heads: one linear layer with two outputs, and ImageReward's five in a row."""

HEAD_WIDTH = 64
"""Of every attention head, in both towers and all published sizes."""

_RANKING_LAYERS = (0, 2, 4, 6, 7)  # between them the published module has dropout, no activation
_WRONG = "imagereward needs ImageReward.pt; blip-itm and blip-itc a retrieval checkpoint of BLIP"


class Blip(nn.Module):
    """The encoder with its head; `side` is the height and width of what it sees, in pixels."""

    def __init__(
        self, vision: BlipVisionConfig, text: BlipTextConfig, space: int, head: nn.Module
    ) -> None:
        super().__init__()
        self.vision_model = BlipVisionModel(vision)
        self.text_encoder = BlipTextModel(text, add_pooling_layer=False)
        self.vision_proj = nn.Linear(vision.hidden_size, space)
        self.text_proj = nn.Linear(text.hidden_size, space)
        self.head = head
        self.side = int(str(vision.image_size))

    @property
    def logit_scale(self) -> Tensor:
        """Zero, the logarithm of 1: contrastive scores are plain cosines."""
        return torch.zeros_like(self.text_proj.bias[0])

    def look(self, seen: Tensor, /) -> Float[Tensor, "n p v"]:
        """Return the image tower's output for the class token and every patch."""
        like = self.logit_scale
        seen = seen.to(device=like.device, dtype=like.dtype)
        return self.vision_model(pixel_values=seen).last_hidden_state

    def read(
        self, ids: Int[Tensor, "n l"], patches: Float[Tensor, "n p v"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Return BERT's state of the first word, [CLS], which looks at the patches if given.

        What follows the last [SEP] is not read; there the id is 0. Attention runs both ways.
        """
        told = ids.ne(0).long().flip(1).cummax(dim=1).values.flip(1)
        found = self.text_encoder(
            input_ids=ids,
            attention_mask=told,
            encoder_hidden_states=patches,
            is_decoder=False,
        )
        return found.last_hidden_state[:, 0]

    def encode_image(self, image: Tensor, /) -> Tensor:
        return self.vision_proj(self.look(image)[:, 0])

    def encode_text(self, text: Tensor, /) -> Tensor:
        return self.text_proj(self.read(text))


def host(
    stored: Stored, head: str, *, side: int | None = None, expect: int | None = None
) -> tuple[Blip, str]:
    """Return the BLIP of some weights in float32, frozen, and the layout they came in.

    Args:
        stored: the weights; all sizes are theirs, a config.json beside them is not needed.
        head: MATCHING or RANKING.
        side: pixels it is to see, if not those the weights are for; positions are resized.
        expect: how many numbers the published model has, or None.

    Raises:
        WeightsMismatchError: not a whole BLIP encoder with this head, or of another size.
    """
    state, layout = to_transformers(stored.state, stored.where)
    try:
        if side is not None:
            patch = state["vision_model.embeddings.patch_embedding.weight"].shape[-1]
            state = state | {POSITIONS: resized(state[POSITIONS], side // patch)}
        net = _empty(state, head)
        missing, unexpected = fill(net, _with_head(state, head))
    except KeyError as error:
        what = f"{error} is missing"
        raise WeightsMismatchError(what, where=stored.where, hint=_WRONG) from error
    except RuntimeError as error:  # torch's word for a tensor of another shape
        what = str(error).splitlines()[-1].strip()
        raise WeightsMismatchError(what, where=stored.where, hint=_WRONG) from error
    if missing or unexpected:
        told = f"BLIP in {layout}'s layout"
        raise mismatch(stored.where, told, missing, unexpected, _WRONG)
    check_size(state, expect, stored.where)
    return net.eval().requires_grad_(False), layout


def place(net: Blip, device: torch.device | None, dtype: torch.dtype | None) -> Blip:
    """Move a network; its head stays in float32 at least, as scores are."""
    net.to(device=device, dtype=dtype)
    if dtype is not None:
        net.head.to(torch.promote_types(dtype, torch.float32))
    return net


def _empty(state: State, head: str) -> Blip:
    """Return a network on the meta device with the sizes of a state in transformers' layout."""
    words = state["text_encoder.embeddings.word_embeddings.weight"]
    places = state["text_encoder.embeddings.position_embeddings.weight"]
    patches = state["vision_model.embeddings.patch_embedding.weight"]
    width, patch = patches.shape[0], patches.shape[-1]
    grid = round((state[POSITIONS].shape[1] - 1) ** 0.5)
    vision = BlipVisionConfig(
        **_depths(state, "vision_model.encoder.layers", "mlp.fc1", width),
        image_size=grid * patch,
        patch_size=patch,
        layer_norm_eps=VISION_EPS,
    )
    text = BlipTextConfig(
        **_depths(state, "text_encoder.encoder.layer", "intermediate.dense", words.shape[1]),
        vocab_size=words.shape[0],
        max_position_embeddings=places.shape[0],
        encoder_hidden_size=width,
        bos_token_id=words.shape[0] - 2,  # [DEC]; not used, but it must be a word
    )
    with torch.device("meta"):
        return Blip(vision, text, state["text_proj.weight"].shape[0], _empty_head(state, head))


def _with_head(state: State, head: str) -> State:
    """Return a state in which the head's names begin with `head`."""
    ahead = f"{head}."
    return {
        f"head.{name.removeprefix(ahead)}" if name.startswith(ahead) else name: value
        for name, value in state.items()
    }


def _depths(state: State, layers: str, inner: str, width: int) -> dict[str, Any]:
    numbers = {name.split(".")[3] for name in state if name.startswith(f"{layers}.")}
    return {
        "hidden_size": width,
        "intermediate_size": state[f"{layers}.0.{inner}.weight"].shape[0],
        "num_hidden_layers": len(numbers),
        "num_attention_heads": max(1, width // HEAD_WIDTH),
    }


def _empty_head(state: State, head: str) -> nn.Module:
    if head == MATCHING:
        return nn.Linear(state[f"{head}.weight"].shape[1], 2)
    layers: list[nn.Module] = [nn.Identity() for _ in range(max(_RANKING_LAYERS) + 1)]
    for number in _RANKING_LAYERS:
        shape = state[f"{head}.{number}.weight"].shape
        layers[number] = nn.Linear(shape[1], shape[0])
    return nn.Sequential(*layers)
