"""What heads read: embeddings of pictures with their prompts, brought to a common scale."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.types import PerRow

Scales = Mapping[str, Tensor]
"""Mean and spread of every coordinate over the training pictures; saved with a head."""


@dataclass(frozen=True, kw_only=True)
class Items:
    """Pictures, each with its prompt: embeddings of one two-tower scorer."""

    image: Float[Tensor, "n d"]
    prompt: Float[Tensor, "n d"]

    def __len__(self) -> int:
        return self.image.shape[0]

    def rows(self, index: slice | Int[Tensor, " m"]) -> "Items":
        return Items(image=self.image[index], prompt=self.prompt[index])


@dataclass(frozen=True, kw_only=True)
class Features:
    """Items in standard deviations: what the picture is, what was asked, how well they agree.

    base: the scorer's own cosine of image and prompt.
    """

    image: Float[Tensor, "n d"]
    prompt: Float[Tensor, "n d"]
    base: Float[Tensor, " n"]


def features(items: Items, scales: Scales) -> Features:
    """Return the features of items on the scales of the training pictures."""
    return Features(
        image=(items.image - scales["image.mean"]) / scales["image.spread"],
        prompt=(items.prompt - scales["prompt.mean"]) / scales["prompt.spread"],
        base=cosine(items) / scales["base.spread"],
    )


def scales_of(items: Items) -> dict[str, Tensor]:
    """Return the mean and the standard deviation of every coordinate over items."""
    image, prompt, base = items.image.double(), items.prompt.double(), cosine(items).double()
    found = {
        "image.mean": image.mean(dim=0),
        "image.spread": _spread(image),
        "prompt.mean": prompt.mean(dim=0),
        "prompt.spread": _spread(prompt),
        "base.spread": _spread(base[:, None])[0],
    }
    return {name: value.to(items.image.dtype) for name, value in found.items()}


def cosine(items: Items) -> PerRow:
    """Return the product of the two embeddings of each item."""
    return (items.image * items.prompt).sum(dim=1)


def _spread(values: Float[Tensor, "n f"]) -> Float[Tensor, " f"]:
    spread = values.std(dim=0, correction=0)
    # A coordinate that never changes carries nothing; dividing by 1 keeps it at zero.
    return torch.where(spread > 1e-8, spread, torch.ones_like(spread))
