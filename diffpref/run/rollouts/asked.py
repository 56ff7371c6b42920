"""The prompts of a rollout: which ones a round asks, and what the networks are told of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.draws import Draws, permutation
from diffpref.models import Bundle
from diffpref.types import Conditioning, PromptBatch

NOISE = "rollout/noise"


def digest(texts: Iterable[str]) -> str:
    """Return what tells these texts from others."""
    return blake2b("\n".join(texts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """All prompts of a run, encoded when they are asked for.

    The prompt at place i of round r has the position r x per_round + i, which keys its noise. Every
    epoch is a permutation of the prompts.
    """

    texts: tuple[str, ...]
    bundle: Bundle
    seed: int
    per_round: int
    height: int
    width: int

    def of_round(self, number: int, *, rank: int, world: int) -> Int[Tensor, " b"]:
        """Return this process's positions in a round."""
        first = number * self.per_round
        return torch.arange(first + rank, first + self.per_round, world)

    def indices(self, positions: Int[Tensor, " b"]) -> list[int]:
        """Return which prompt each position asks."""
        size = len(self.texts)
        return [self._orders(int(p) // size)[int(p) % size] for p in positions]

    def batch(self, positions: Int[Tensor, " b"]) -> PromptBatch:
        """Return prompts, their conditioning and starting noise, on the bundle's device."""
        device = self.bundle.device
        prompts = tuple(self.texts[index] for index in self.indices(positions))
        noise = Draws(self.seed, positions).normal(NOISE, self.shape)
        return PromptBatch(
            prompts=prompts,
            cond=self.cond(prompts),
            noise=noise.to(device),
            positions=positions,
            uncond=self._with_size(self.bundle.encode_uncond(len(prompts))),
        )

    def cond(self, prompts: tuple[str, ...]) -> Conditioning:
        distinct = list(dict.fromkeys(prompts))
        with torch.no_grad():
            encoded = self.bundle.encode_text(distinct)
        rows = torch.tensor([distinct.index(prompt) for prompt in prompts])
        return self._with_size(encoded.map(lambda tensor: tensor[rows]))

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.bundle.latent_shape(self.height, self.width)

    def _with_size(self, cond: Conditioning) -> Conditioning:
        size = torch.tensor([[self.height, self.width]] * len(cond))
        ids = self.bundle.family.time_ids(size, torch.zeros_like(size), size)
        device = self.bundle.device
        return replace(cond, time_ids=ids).map(lambda tensor: tensor.to(device))

    @cached_property
    def _known(self) -> dict[int, list[int]]:
        return {}

    def _orders(self, epoch: int) -> list[int]:
        if epoch not in self._known:
            order = permutation(self.seed, epoch, len(self.texts))
            self._known[epoch] = [int(index) for index in order]
        return self._known[epoch]
