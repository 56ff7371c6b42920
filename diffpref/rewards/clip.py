"""The two-tower scorer: any pair of networks whose unit embeddings meet in a cosine."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from diffpref.rewards.info import ScorerInfo
from diffpref.rewards.sight import Sight
from diffpref.rewards.tokenizers import Tokenizer
from diffpref.types import PerRow


@runtime_checkable
class Towers(Protocol):
    """A CLIP network as open_clip spells it; `logit_scale` is the logarithm of the scale."""

    logit_scale: Any

    def encode_image(self, image: Tensor, /) -> Tensor: ...

    def encode_text(self, text: Tensor, /) -> Tensor: ...

    def to(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class TwoTowerModel:
    """`finish(cosine)`, where the cosine is that of image and `prefix` + prompt."""

    info: ScorerInfo
    net: Towers
    tokenizer: Tokenizer
    sight: Sight
    finish: Callable[[Tensor], Tensor]
    prefix: str = ""

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        distinct = list(dict.fromkeys(prompts))
        text = self.embed_prompts(distinct)[[distinct.index(prompt) for prompt in prompts]]
        return self.finish((self.embed_seen(seen) * text).sum(dim=1))

    def embed_seen(self, seen: Tensor, /) -> Float[Tensor, "n d"]:
        """Return unit embeddings in float32, on the network's device."""
        scale = self.net.logit_scale
        seen = seen.to(device=scale.device, dtype=scale.dtype, non_blocking=True)
        features = self.net.encode_image(seen)
        return functional.normalize(features.float(), dim=-1)

    def embed_prompts(self, prompts: Sequence[str], /) -> Float[Tensor, "m d"]:
        """Return unit embeddings in float32, on the network's device."""
        ids = self.tokenizer.ids([self.prefix + prompt for prompt in prompts])
        features = self.net.encode_text(ids.to(self.net.logit_scale.device))
        return functional.normalize(features.float(), dim=-1)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return self.tokenizer.overlong([self.prefix + prompt for prompt in prompts])

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "TwoTowerModel":
        return replace(self, net=deepcopy(self.net).to(device=device, dtype=dtype))


def times(scale: float, *, clamp: bool = False) -> Callable[[Tensor], Tensor]:
    """Return scale x cosine, or scale x max(cosine, 0)."""
    return lambda cosine: scale * (cosine.clamp(min=0) if clamp else cosine)
