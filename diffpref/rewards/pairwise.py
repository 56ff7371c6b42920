"""From comparisons of two pictures to a choice among many."""

from collections.abc import Sequence
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.rewards.inputs import AnyImage, one_picture
from diffpref.rewards.model import PairwiseModel


def preferences(
    model: PairwiseModel, images: Sequence[AnyImage], prompt: str
) -> Float[Tensor, "i i"]:
    """Return the probability that image a is preferred to image b; one half on the diagonal."""
    seen = [model.sight.reference(one_picture(image, n)) for n, image in enumerate(images)]
    found = torch.full((len(seen), len(seen)), 0.5)
    for a, b in combinations(range(len(seen)), 2):
        # Pictures of different sizes are no batch, so each pair is asked on its own.
        chance = model.prefer(seen[a][None], seen[b][None], (prompt,)).float().cpu()
        found[a, b], found[b, a] = chance[0], 1 - chance[0]
    return found


def chosen(preferred: Float[Tensor, "i i"]) -> Float[Tensor, " i"]:
    """Return each image's share of all comparisons won (Borda); two images: the probability.

    A comparison without a verdict counts one half.
    """
    size = len(preferred)
    if size < 2:
        return torch.ones(size)
    won = preferred.nan_to_num(0.5).sum(dim=1) - 0.5
    return won / won.sum()
