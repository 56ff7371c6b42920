"""Aesthetic predictors: an affine head on a vision tower's image embedding.

    s = W_5 (W_4 (W_3 (W_2 (W_1 e + b_1) + b_2) + b_3) + b_4) + b_5,   e = unit image embedding

    laion-aesthetic-v2  e projected by CLIP ViT-L/14
    aesthetic-v2.5      e pooled by attention in SigLIP so400m

The heads have five linear layers and no activation, so each is one affine map. LAION's sibling with
ReLUs (`reluMSE`) has other keys and is refused. Version 2.5 is written from its weights and its
description alone; its head is AGPL-3.0 and is not part of this package. Departs from the released
code: float32 instead of half precision.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffpref.rewards.affine_head import load_affine_head
from diffpref.rewards.cards import SCORERS
from diffpref.rewards.frames import shortest, squash
from diffpref.rewards.hf_clip import check_size, host
from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.resolve import find
from diffpref.rewards.sight import Framed, Sight
from diffpref.rewards.siglip import host_siglip
from diffpref.rewards.state import Stored, WeightsMismatchError, bare, read_state
from diffpref.types import PerRow


@runtime_checkable
class Tower(Protocol):
    """A vision network: pictures of `side` pixels -> embeddings of `width`, not normalised."""

    side: Any
    width: Any

    def encode_image(self, image: Tensor, /) -> Tensor: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def to(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class AestheticModel:
    """A head on unit image embeddings; the prompt is ignored."""

    info: ScorerInfo
    sight: Sight
    tower: Tower
    head: nn.Sequential

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        del prompts
        return self.head(self.embed_seen(seen))[:, 0]

    def embed_seen(self, seen: Tensor, /) -> Float[Tensor, "n d"]:
        """Return unit embeddings in float32."""
        like = next(self.tower.parameters())
        seen = seen.to(device=like.device, dtype=like.dtype, non_blocking=True)
        features = self.tower.encode_image(seen)
        return functional.normalize(features.float(), dim=-1)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "AestheticModel":
        tower = deepcopy(self.tower).to(device=device, dtype=dtype)
        return replace(self, tower=tower, head=deepcopy(self.head).to(device=device))


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """How one predictor differs from another.

    `dropouts` are the numbers of layers that do nothing when scoring; `other` says what a head
    with other layers may be.
    """

    name: str
    prefix: str
    dropouts: tuple[int, ...]
    other: str
    tower: Callable[[Stored, int | None], tuple[Tower, str]]
    sight: Callable[[int], Framed]


def load_laion(options: LoadOptions) -> AestheticModel:
    """Return the LAION predictor v2, `sac+logos+ava1-l14-linearMSE`."""
    return _load(
        _Recipe(
            name="laion-aesthetic-v2",
            prefix="layers.",
            dropouts=(1, 3, 5),
            other="the file with 'reluMSE' in its name is another head; give the 'linearMSE' one",
            tower=lambda stored, expect: host(stored, quick_gelu=True, expect=expect),
            sight=lambda side: Framed(
                id=f"pillow/{side}/torchvision-centre", framing=shortest(side)
            ),
        ),
        options,
    )


def load_v25(options: LoadOptions) -> AestheticModel:
    """Return the predictor v2.5, which sees the picture squashed to a square."""
    middle = (0.5, 0.5, 0.5)
    return _load(
        _Recipe(
            name="aesthetic-v2.5",
            prefix="scoring_head.",
            dropouts=(1, 3, 5, 7),
            other="give aesthetic_predictor_v2_5.pth; LAION's head is laion-aesthetic-v2's",
            tower=host_siglip,
            sight=lambda side: Framed(
                id=f"pillow/{side}/squash", framing=squash(side), mean=middle, std=middle
            ),
        ),
        options,
    )


def _load(recipe: _Recipe, options: LoadOptions) -> AestheticModel:
    card = SCORERS[recipe.name]
    head_part, tower_part = card.part("head"), card.part("backbone")
    stored = read_state(find(card, head_part, options))
    head = load_affine_head(
        stored, prefix=recipe.prefix, dropouts=recipe.dropouts, other=recipe.other
    )
    check_size(
        bare(stored.state), head_part.parameters if options.published else None, stored.where
    )
    backbone = read_state(find(card, tower_part, options))
    tower, layout = recipe.tower(backbone, tower_part.parameters if options.published else None)
    first = head[0]
    assert isinstance(first, nn.Linear)
    if first.in_features != tower.width:
        what = f"embeddings have {tower.width} numbers, the head reads {first.in_features}"
        hint = f"give the head's own backbone, {tower_part.repo}"
        raise WeightsMismatchError(what, where=backbone.where, hint=hint)
    sight = recipe.sight(tower.side)
    return AestheticModel(
        info=info_of(
            card,
            preprocess_id=sight.id,
            weights=(*stored.refs("affine-head"), *backbone.refs(layout)),
        ),
        sight=sight,
        tower=tower.to(device=options.device, dtype=options.dtype),
        head=head.to(device=options.device),
    )
