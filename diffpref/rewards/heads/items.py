"""What heads read: embeddings of pictures with their prompts, brought to a common scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.types import PerRow

Scales = Mapping[str, Tensor]
"""Mean and spread of every coordinate over the training pictures, the width of its block, and
whether it saturates; saved with a head."""


SATURATED = 0.628
"""Standard deviation of tanh(z), z of a standard normal distribution: brings it back to about 1."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Neighbouring numbers of a picture that come from one scorer."""

    width: int
    saturates: bool


@dataclass(frozen=True, kw_only=True)
class Items:
    """Pictures, each with its prompt: embeddings of one two-tower scorer.

    `image` holds d = p + f numbers: the embedding, as wide as the prompt's, then whatever else is
    read of the picture (`diffpref.rewards.heads.extras`).
    """

    image: Float[Tensor, "n d"]
    prompt: Float[Tensor, "n p"]

    def __len__(self) -> int:
        return self.image.shape[0]

    def rows(self, index: slice | Int[Tensor, " m"]) -> "Items":
        return Items(image=self.image[index], prompt=self.prompt[index])


@dataclass(frozen=True, kw_only=True)
class Features:
    """Items in standard deviations: what the picture is, what was asked, how well they agree.

    Numbers of one embedding are divided by the root of its width, so that a whole embedding weighs
    as much as one score, and a prior over weights treats both alike. Scores saturate (tanh), so
    that one far outside of the training pictures' cannot run away with a reward.

    base: the scorer's own cosine of image and prompt.
    """

    image: Float[Tensor, "n d"]
    prompt: Float[Tensor, "n p"]
    base: Float[Tensor, " n"]


def features(items: Items, scales: Scales) -> Features:
    """Return the features of items on the scales of the training pictures."""
    image = (items.image - scales["image.mean"]) / scales["image.spread"]
    prompt = (items.prompt - scales["prompt.mean"]) / scales["prompt.spread"]
    return Features(
        image=torch.where(scales["image.saturates"] > 0, image.tanh() / SATURATED, image)
        / scales["image.block"].sqrt(),
        prompt=prompt / prompt.shape[1] ** 0.5,
        base=cosine(items) / scales["base.spread"],
    )


def scales_of(items: Items, blocks: Sequence[Block] = ()) -> dict[str, Tensor]:
    """Return the scales of every coordinate over items.

    Args:
        items: the training pictures.
        blocks: what follows the embedding, in order.
    """
    every = (Block(width=items.prompt.shape[1], saturates=False), *blocks)
    image, prompt, base = items.image.double(), items.prompt.double(), cosine(items).double()
    found = {
        "image.mean": image.mean(dim=0),
        "image.spread": _spread(image),
        "image.block": _columns(every, [float(block.width) for block in every]),
        "image.saturates": _columns(every, [float(block.saturates) for block in every]),
        "prompt.mean": prompt.mean(dim=0),
        "prompt.spread": _spread(prompt),
        "base.spread": _spread(base[:, None])[0],
    }
    return {name: value.to(items.image.dtype) for name, value in found.items()}


def _columns(blocks: Sequence[Block], values: Sequence[float]) -> Float[Tensor, " f"]:
    widths = torch.tensor([block.width for block in blocks])
    return torch.tensor(values, dtype=torch.float64).repeat_interleave(widths)


def cosine(items: Items) -> PerRow:
    """Return the product of the two embeddings of each item; further features play no part."""
    return (items.image[:, : items.prompt.shape[1]] * items.prompt).sum(dim=1)


def _spread(values: Float[Tensor, "n f"]) -> Float[Tensor, " f"]:
    spread = values.std(dim=0, correction=0)
    # A coordinate that never changes carries nothing; dividing by 1 keeps it at zero.
    return torch.where(spread > 1e-8, spread, torch.ones_like(spread))
