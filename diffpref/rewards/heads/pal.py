r"""PAL: people have ideal points, and like what is near theirs (2406.08469).

    A:  r_u(x, c) = a s(x, c) - exp(l) || f(x) - sum_k softmax(w_u)_k p_k ||
    B:  r_u(x, c) = a s(x, c) + exp(l) cos( f(x), sum_k softmax(w_u)_k g_k(c) )

A has K prototypes p_k, B has K maps g_k(c) = p_k + M_k c of the prompt; exp(l) is at most 100, as
in the released code.

Departs from the released code: f and g_k are linear rather than perceptrons with dropout, which on
thousands instead of hundreds of thousands of votes learned no people at all; prototypes lie in the
space of f (its choice "Pw"); the scorer's own score a s is added, so that training starts at what
the scorer knows; w_u has a Gaussian prior around everyone's w.
"""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional

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

MAX_SCALE = 100.0
TINY = 1e-12
"""Keeps the gradient of the distance finite at the ideal point itself."""

SCALE, SMALL, APART = 0.3, 0.3, 3.0
"""At the start: exp(l), and the standard deviations of places and of prototypes. Prototypes that
begin apart, around places that begin close, tell people apart from the first step on."""

FREE = frozenset({"everyone", "scale", "prototypes"})


def start_a(shape: Shape, rng: Generator) -> dict[str, Tensor]:
    return {
        "everyone": torch.zeros(shape.groups),
        "scale": torch.full((), math.log(SCALE)),
        "place": normal(rng, shape.d, shape.width, scale=SMALL * shape.d**-0.5),
        "prototypes": normal(rng, shape.groups, shape.width, scale=APART),
    }


def start_b(shape: Shape, rng: Generator) -> dict[str, Tensor]:
    maps = torch.zeros(shape.groups, shape.prompt, shape.width)
    return {**start_a(shape, rng), "maps": maps}


def place(shared: Shared, items: Features) -> Float[Tensor, "n w"]:
    """Return f: where a picture lies in the space of ideal points."""
    return items.image @ shared["place"]


def ideal_a(shared: Shared, weights: Weights) -> Float[Tensor, "n w"]:
    """Return each person's mixture of the prototypes."""
    return simplex(weights) @ shared["prototypes"]


def ideal_b(shared: Shared, items: Features, weights: Weights) -> Float[Tensor, "n w"]:
    """Return each person's mixture of what the maps make of the prompt."""
    mapped = torch.einsum("nk,nd,kdw->nw", simplex(weights), items.prompt, shared["maps"])
    return ideal_a(shared, weights) + mapped


def reward_a(shared: Shared, items: Features, weights: Weights) -> PerRow:
    """Return the scorer's own score minus the scaled distance to the ideal point."""
    apart = place(shared, items) - ideal_a(shared, weights)
    distance = (apart.square().sum(dim=1) + TINY).sqrt()
    return own_score(shared, items) - _scale(shared) * distance


def reward_b(shared: Shared, items: Features, weights: Weights) -> PerRow:
    """Return the scorer's own score plus the scaled cosine with the ideal point."""
    ideal = ideal_b(shared, items, weights)
    along = functional.cosine_similarity(place(shared, items), ideal, dim=1)
    return own_score(shared, items) + _scale(shared) * along


def _scale(shared: Shared) -> Tensor:
    return shared["scale"].exp().clamp(max=MAX_SCALE)


PAL_A = HeadKind(
    summary="ideal points: the distance to a person's mixture of K prototypes",
    paper="2406.08469",
    start=start_a,
    reward=reward_a,
    logit=difference(reward_a),
    free=FREE,
)

PAL_B = HeadKind(
    summary="ideal points that follow the prompt: a person's mixture of K maps of it",
    paper="2406.08469",
    start=start_b,
    reward=reward_b,
    logit=difference(reward_b),
    free=FREE,
)
