"""ImageReward, BLIP-ITM and BLIP-ITC on one host; h is BERT's state of [CLS].

    imagereward         (W_5 (W_4 (W_3 (W_2 (W_1 h + b_1) + b_2) + b_3) + b_4) + b_5 - m) / s
    blip-itm            softmax(W h + b)_1, the probability that prompt and image match
    blip-itc            cos(V image_[CLS], W h), where BERT does not see the image
    blip-itc:blipscore  the same from BLIP's pre-training, with ImageReward's sight

In the first two BERT looks at the image by cross-attention in every layer. Prompts are read as far
as 35 words; longer ones are flagged. [CLS] stays [CLS] where training of the matching head put
[ENC], as in the released scoring code.

Departs from the released code: pictures are made RGB before they are resized, not after, and what
is transparent lies on white. Departs from transformers' BlipForImageTextRetrieval: the layer norms
of the image tower have Salesforce's epsilon.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.rewards.blip import MATCHING, RANKING, Blip, host, place
from diffpref.rewards.cards import SCORERS
from diffpref.rewards.cards.blip import DEVIATION, MEAN
from diffpref.rewards.clip import TwoTowerModel, times
from diffpref.rewards.frames import shortest, squash
from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.resolve import find
from diffpref.rewards.sight import Framed, Sight
from diffpref.rewards.state import read_state
from diffpref.rewards.tokenizers import Tokenizer
from diffpref.rewards.wordpiece import WordPiece, load_wordpiece
from diffpref.types import PerRow

RANKING_SIDE, MATCHING_SIDE = 224, 384
"""Pixels the published models see."""


@dataclass(frozen=True, kw_only=True)
class FusionModel:
    """`finish(head(h))`, where BERT read the prompt while looking at the image."""

    info: ScorerInfo
    net: Blip
    tokenizer: Tokenizer
    sight: Sight
    finish: Callable[[Tensor], Tensor]

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        return self.judge_looked(self.look(seen), prompts)

    def look(self, seen: Tensor, /) -> Float[Tensor, "n p w"]:
        return self.net.look(seen)

    def judge_looked(self, looked: Float[Tensor, "n p w"], prompts: tuple[str, ...], /) -> PerRow:
        ids = self.tokenizer.ids(prompts).to(looked.device)
        told = self.net.read(ids, looked)
        return self.finish(self.net.head(told.to(torch.promote_types(told.dtype, torch.float32))))

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return self.tokenizer.overlong(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "FusionModel":
        return replace(self, net=place(deepcopy(self.net), device, dtype))


@dataclass(frozen=True, kw_only=True)
class _Parts:
    info: ScorerInfo
    net: Blip
    tokenizer: WordPiece
    sight: Framed


def load_imagereward(options: LoadOptions) -> FusionModel:
    """Return ImageReward v1.0 (2304.05977)."""
    parts = _load("imagereward", options, head=RANKING, sight=cut, side=RANKING_SIDE)
    return _fusion(parts, standardised)


def load_itm(options: LoadOptions) -> FusionModel:
    """Return BLIP's matching head (2201.12086) of the variant's size and data."""
    parts = _load("blip-itm", options, head=MATCHING, sight=squashed, side=MATCHING_SIDE)
    return _fusion(parts, matched)


def load_itc(options: LoadOptions) -> TwoTowerModel:
    """Return BLIP's contrastive score, or BLIPScore as ImageReward's paper measures it."""
    own = options.variant == "blipscore"
    parts = _load(
        "blip-itc",
        options,
        head=MATCHING,
        sight=cut if own else squashed,
        side=RANKING_SIDE if own else MATCHING_SIDE,
    )
    return TwoTowerModel(
        info=parts.info,
        net=parts.net,
        tokenizer=parts.tokenizer,
        sight=parts.sight,
        finish=times(1.0),
    )


def standardised(output: Tensor) -> PerRow:
    """Return ImageReward's score from its head's output."""
    return (output[:, 0] - MEAN) / DEVIATION


def matched(logits: Tensor) -> PerRow:
    """Return the probability of the second class, a match."""
    return logits.softmax(dim=1)[:, 1]


def _load(
    name: str, options: LoadOptions, *, head: str, sight: Callable[[int], Framed], side: int
) -> _Parts:
    """Find and load; weights that are not the published ones see what they are made for."""
    card = SCORERS[name]
    part = card.needed(options.variant)[0]
    path = find(card, part, options)
    stored = read_state(path)
    net, layout = host(
        stored,
        head,
        side=side if options.published else None,
        expect=part.parameters if options.published else None,
    )
    rows = net.text_encoder.config.vocab_size
    tokenizer, words = load_wordpiece(card, options, weights=path, rows=rows)
    seen = sight(net.side)
    info = info_of(
        card,
        variant=options.variant,
        preprocess_id=seen.id,
        tokenizer_id=tokenizer.id,
        weights=(*stored.refs(layout), *words),
    )
    net = place(net, options.device, options.dtype)
    return _Parts(info=info, net=net, tokenizer=tokenizer, sight=seen)


def _fusion(parts: _Parts, finish: Callable[[Tensor], Tensor]) -> FusionModel:
    return FusionModel(
        info=parts.info,
        net=parts.net,
        tokenizer=parts.tokenizer,
        sight=parts.sight,
        finish=finish,
    )


def cut(side: int) -> Framed:
    """Return ImageReward's sight: shorter edge to `side`, centre square."""
    return Framed(id=f"pillow/{side}/torchvision-centre", framing=shortest(side))


def squashed(side: int) -> Framed:
    """Return BLIP's sight: the whole picture, stretched to the square."""
    return Framed(id=f"pillow/{side}/squashed", framing=squash(side))
