r"""General Preference Model: a preference that need not be transitive (2410.02197).

    s_u(x > y | c) = sum_k lambda_k (x_2k y_2k+1 - x_2k+1 y_2k),     lambda = softmax(G c + w_u)
    P(x > y) = sigma( s / tau + a (s_x - s_y) ),                     tau = 0.1 / K

x_1..x_2K is v(x) = A e_x + b, scaled to length 1. s is odd under exchange, so s(x > x) = 0, and in
general no reward per picture gives it.

Departs from the paper: a person's weights w_u enter the gate lambda, which in the paper depends on
the prompt only; v reads the picture only, and has a bias b, which a language model's last state
holds by itself and without which v could not order pictures in a line; the difference of the
scorer's own scores is added; tau is divided by K, since K planes that share length 1 and a gate
evenly have |s| <= 1 / K: with tau = 0.1 alone nobody could be surer than log odds of 10 / K.
"""

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
    normal,
    own_score,
    simplex,
)
from diffpref.types import PerRow

TAU = 0.1
SMALL = 0.3
"""Standard deviation of A e_x at the start, beside b of length 1 in every plane."""


def start(shape: Shape, rng: Generator) -> dict[str, Tensor]:
    return {
        "everyone": torch.zeros(shape.groups),
        "value": normal(rng, shape.d, 2 * shape.groups, scale=SMALL * shape.d**-0.5),
        "bias": torch.tensor([1.0, 0.0]).repeat(shape.groups),
        "gate": torch.zeros(shape.prompt, shape.groups),
    }


def embed(shared: Shared, items: Features) -> Float[Tensor, "n k 2"]:
    """Return v(x), of length 1, as K points in the plane."""
    value = items.image @ shared["value"] + shared["bias"]
    return functional.normalize(value, dim=1).unflatten(1, (-1, 2))


def score(shared: Shared, first: Features, second: Features, weights: Weights) -> PerRow:
    """Return s, in [-1, 1]; both items are of the same prompt."""
    one, two = embed(shared, first), embed(shared, second)
    turn = one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]
    gate = simplex(first.prompt @ shared["gate"] + weights)
    return (gate * turn).sum(dim=1)


def logit(shared: Shared, first: Features, second: Features, weights: Weights) -> PerRow:
    """Return s / tau plus the difference of the scorer's own scores."""
    own = own_score(shared, first) - own_score(shared, second)
    return score(shared, first, second, weights) * weights.shape[1] / TAU + own


GPM = HeadKind(
    summary="K planes in which preferences may go in circles; judges pairs only",
    paper="2410.02197",
    start=start,
    reward=None,
    logit=logit,
    free=frozenset({"everyone", "bias"}),
    averaged=frozenset({"value"}),
)
