r"""Bradley-Terry: one taste for all, linear in the embedding of the picture.

    r(x, c) = a s(x, c) + w^T e_x,              P(x > y) = sigma( r(x, c) - r(y, c) )

s is the scorer's own cosine, so that with w = 0 this is PickScore (2305.01569, eq. 1) with the
scale a refitted.

Departs from the paper: PickScore tunes both towers; here they are frozen and w is learned.
"""

import torch
from torch import Generator, Tensor

from diffpref.rewards.heads.items import Features
from diffpref.rewards.heads.kind import HeadKind, Shape, Shared, Weights, difference, own_score
from diffpref.types import PerRow


def start(shape: Shape, rng: Generator) -> dict[str, Tensor]:
    """Return no taste at all: nothing is random."""
    del rng
    return {"taste": torch.zeros(shape.d)}


def reward(shared: Shared, items: Features, weights: Weights) -> PerRow:
    """Return a s + w^T e_x, the same for everyone."""
    del weights
    return own_score(shared, items) + items.image @ shared["taste"]


BRADLEY_TERRY = HeadKind(
    summary="one taste for all, linear in the embedding, as PickScore",
    paper="2305.01569",
    start=start,
    reward=reward,
    logit=difference(reward),
    personal=False,
)
