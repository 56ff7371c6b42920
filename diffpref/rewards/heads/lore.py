r"""LoRe: every person's reward is a mixture of K shared reward heads (2504.14439).

    r_u(x, c) = a s(x, c) + e_x^T V softmax(w_u),       V of size d x K

Departs from the paper: e_x are standardised coordinates of a frozen picture tower instead of the
last state of a language model that read prompt and answer, so the prompt counts through the
scorer's own score a s, which also is the reference head V is pulled to, and the logit is not
divided by 100; w_u has a Gaussian prior around everyone's w.
"""

import torch
from torch import Generator, Tensor

from diffpref.rewards.heads.items import Features
from diffpref.rewards.heads.kind import (
    HeadKind,
    Shape,
    Shared,
    Weights,
    difference,
    normal,
    own_score,
    simplex,
)
from diffpref.types import PerRow

SMALL = 0.03
"""Standard deviation of V at the start: bases must differ for weights to have a gradient."""


def start(shape: Shape, rng: Generator) -> dict[str, Tensor]:
    return {
        "basis": normal(rng, shape.d, shape.groups, scale=SMALL),
        "everyone": torch.zeros(shape.groups),
    }


def reward(shared: Shared, items: Features, weights: Weights) -> PerRow:
    """Return a s + e_x^T V softmax(w_u)."""
    each = items.image @ shared["basis"]
    return own_score(shared, items) + (each * simplex(weights)).sum(dim=1)


LORE = HeadKind(
    summary="K shared reward heads, mixed by each person's weights",
    paper="2504.14439",
    start=start,
    reward=reward,
    logit=difference(reward),
    averaged=frozenset({"basis"}),
)
