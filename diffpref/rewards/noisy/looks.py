"""What a kind of noisy reward sees of x_t: the interface, and the text it is told with."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.models import Bundle
from diffpref.types import Conditioning, Latents, Steps


class Looked(NamedTuple):
    """Features of noisy latents, and the score an existing scorer gives them; 0 without one."""

    features: Float[Tensor, "n d"]
    own: Float[Tensor, " n"]


Look = Callable[[Latents, Steps, Conditioning, tuple[str, ...]], Looked]
"""(x_t, t, what the base is told, prompts) -> what is seen; differentiable in x_t."""

Key = tuple[tuple[str, ...], int, int]


@dataclass(frozen=True, kw_only=True)
class Told:
    """The conditioning of prompts at the size of latents; the last one asked for is kept."""

    bundle: Bundle
    _last: dict[Key, Conditioning] = field(default_factory=dict[Key, Conditioning], repr=False)

    def __call__(self, prompts: tuple[str, ...], height: int, width: int) -> Conditioning:
        """Return one entry per prompt; height and width are those of the latents."""
        key = (prompts, height, width)
        if key not in self._last:
            self._last.clear()
            self._last[key] = self._encoded(prompts, height, width)
        return self._last[key]

    @torch.no_grad()
    def _encoded(self, prompts: tuple[str, ...], height: int, width: int) -> Conditioning:
        distinct = list(dict.fromkeys(prompts))
        place = {prompt: row for row, prompt in enumerate(distinct)}
        rows = torch.tensor([place[prompt] for prompt in prompts])
        encoded = self.bundle.encode_text(distinct).map(lambda tensor: tensor[rows])
        side = self.bundle.vae_factor
        size = torch.tensor([[height * side, width * side]] * len(prompts))
        ids = self.bundle.family.time_ids(size, torch.zeros_like(size), size)
        device = self.bundle.device
        return replace(encoded, time_ids=ids).map(lambda tensor: tensor.to(device))
