r"""MPS: a ViT-H/14 CLIP whose image tokens read the relevant words of the prompt.

    s = exp(logit_scale) cos(t, x_0),   x = cross(I, T, keep)
    keep_j = max_c <T_j, C_c> / max_j max_c <T_j, C_c> > threshold

T are the projected hidden states of all 77 positions of the prompt, those after its end included; t
is its projected pooled state, C the states of one fixed sentence of words for aspects of a picture,
I the projected last hidden states of the vision tower without its final norm.

The threshold is 0.3 in the scripts behind the published accuracies (variant `table`) and 0.01 in
the README and the model's own forward pass (`readme`).

Departs from the released code: the relevance is divided by each prompt's own maximum (released: by
that of the batch, so that scores depend on what they are computed with; for a single prompt both
are one), and networks are float32 by default (released: half precision).
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from diffpref.numerics import widen
from diffpref.rewards.cards import SCORERS
from diffpref.rewards.frames import shortest
from diffpref.rewards.hf_clip import HostedClip, check_size
from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.mps_cross import CrossModel
from diffpref.rewards.mps_weights import build
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.resolve import find
from diffpref.rewards.sight import Framed, Sight
from diffpref.rewards.state import read_state
from diffpref.rewards.tokenizers import HubTokenizer, Tokenizer
from diffpref.types import PerRow

ASPECTS = (
    "light, color, clarity, tone, style, ambiance, artistry, shape, face, hair, hands, limbs, "
    "structure, instance, texture, quantity, attributes, position, number, location, word, things."
)
"""What the published model asks of a picture; it is part of the model, word for word."""

THRESHOLDS = MappingProxyType({"table": 0.3, "readme": 0.01})


class MpsNet(nn.Module):
    """Both towers with all their tokens, and what lets them meet."""

    def __init__(self, host: HostedClip, cross: CrossModel) -> None:
        super().__init__()
        self.host, self.cross = host, cross

    def read(self, ids: Int[Tensor, "m l"]) -> tuple[Float[Tensor, "m l d"], Float[Tensor, "m d"]]:
        """Return the projected tokens of prompts, and their projected pooled states."""
        clip = self.host.clip
        found = clip.text_model(input_ids=ids)
        return clip.text_projection(found.last_hidden_state), clip.text_projection(
            found.pooler_output
        )

    def look(self, image: Tensor) -> Float[Tensor, "n t d"]:
        """Return the projected tokens of pictures, without the tower's final norm."""
        clip = self.host.clip
        return clip.visual_projection(clip.vision_model(pixel_values=image).last_hidden_state)


@dataclass(frozen=True, kw_only=True)
class MpsModel:
    """The score of one image and one prompt together."""

    info: ScorerInfo
    sight: Sight
    net: MpsNet
    tokenizer: Tokenizer
    threshold: float
    scale: float

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        return self.judge_looked(self.look(seen), prompts)

    def look(self, seen: Tensor, /) -> Float[Tensor, "n t d"]:
        like = self.net.host.logit_scale
        return self.net.look(seen.to(device=like.device, dtype=like.dtype, non_blocking=True))

    def judge_looked(self, looked: Float[Tensor, "n t d"], prompts: tuple[str, ...], /) -> PerRow:
        like = self.net.host.logit_scale
        distinct = list(dict.fromkeys(prompts))
        rows = [distinct.index(prompt) for prompt in prompts]
        ids = self.tokenizer.ids([ASPECTS, *distinct]).to(like.device)
        tokens, pooled = self.net.read(ids)
        keep = relevant(tokens[1:], tokens[0], self.threshold)
        told = self.net.cross(looked, tokens[1:][rows], keep[rows])[:, 0]
        cosine = functional.cosine_similarity(widen(told), widen(pooled[1:])[rows], dim=-1)
        return self.scale * cosine

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return self.tokenizer.overlong(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "MpsModel":
        return replace(self, net=deepcopy(self.net).to(device=device, dtype=dtype))


def relevant(
    tokens: Float[Tensor, "m l d"], aspects: Float[Tensor, "c d"], threshold: float
) -> Bool[Tensor, "m l"]:
    """Return which tokens of each prompt are close enough to some aspect.

    Closeness is an inner product relative to the prompt's own largest, so that rows are
    independent and at least one token is kept. Being a yes or no, it carries no gradient.
    """
    close = torch.einsum("mld,cd->mlc", widen(tokens), widen(aspects)).amax(dim=2)
    return close / close.amax(dim=1, keepdim=True) > threshold


def load_mps(options: LoadOptions) -> MpsModel:
    """Return MPS (2405.14705), trained on overall preference, at the threshold of the variant."""
    card = SCORERS["mps"]
    (part,) = card.needed(options.variant)
    stored = read_state(find(card, part, options))
    host, cross, layout = build(stored)
    net = MpsNet(host, cross)
    expect = part.parameters if options.published else None
    check_size({name: p.detach() for name, p in net.named_parameters()}, expect, stored.where)
    scale = float(host.logit_scale.exp())
    tokenizer = HubTokenizer()
    sight = Framed(id=f"pillow/{host.side}/hf-centre", framing=shortest(host.side, floor=True))
    return MpsModel(
        info=info_of(
            card,
            variant=options.variant,
            preprocess_id=sight.id,
            tokenizer_id=tokenizer.id,
            weights=stored.refs(f"mps/{layout}"),
        ),
        sight=sight,
        net=net.to(device=options.device, dtype=options.dtype),
        tokenizer=tokenizer,
        threshold=THRESHOLDS[options.variant],
        scale=scale,
    )
