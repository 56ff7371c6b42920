r"""A mixture of K Bradley-Terry experts, routed by prompt and person, as MiCRo (2505.24846).

    P_u(x > y | c) = sum_k pi_k(c, u) sigma( r_k(x, c) - r_k(y, c) )
    pi(c, u) = softmax( G c + w_u ),        r_k(x, c) = a s(x, c) + v_k^T e_x

As one number per picture it is sum_k pi_k r_k, whose sign on a pair may differ from that of
P - 1/2 when experts disagree strongly.

Departs from the paper: a person's weights w_u are fitted together with the router, under a
Gaussian prior, instead of by an online update in a second stage; there is no load-balance term;
the scorer's own score a s is in every expert.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import logsigmoid

from diffpref.rewards.heads.items import Features
from diffpref.rewards.heads.kind import HeadKind, Shape, Shared, Weights, normal, own_score
from diffpref.types import PerRow

SMALL = 0.03
"""Standard deviation of the experts at the start: they must differ to be told apart."""


def start(shape: Shape, rng: Generator) -> dict[str, Tensor]:
    return {
        "everyone": torch.zeros(shape.groups),
        "experts": normal(rng, shape.d, shape.groups, scale=SMALL),
        "router": torch.zeros(shape.prompt, shape.groups),
    }


def experts(shared: Shared, items: Features) -> Float[Tensor, "n k"]:
    """Return r_k of every item."""
    return own_score(shared, items)[:, None] + items.image @ shared["experts"]


def routes(shared: Shared, items: Features, weights: Weights) -> Float[Tensor, "n k"]:
    """Return log pi, whose exponentials have sum 1."""
    return (items.prompt @ shared["router"] + weights).log_softmax(dim=1)


def reward(shared: Shared, items: Features, weights: Weights) -> PerRow:
    """Return sum_k pi_k r_k."""
    return (routes(shared, items, weights).exp() * experts(shared, items)).sum(dim=1)


def logit(shared: Shared, first: Features, second: Features, weights: Weights) -> PerRow:
    """Return log P - log(1 - P) of the mixture, exactly also far from zero."""
    gap = experts(shared, first) - experts(shared, second)
    route = routes(shared, first, weights)
    return (route + logsigmoid(gap)).logsumexp(dim=1) - (route + logsigmoid(-gap)).logsumexp(dim=1)


MIXTURE = HeadKind(
    summary="K experts, routed by the prompt and by each person's weights",
    paper="2505.24846",
    start=start,
    reward=reward,
    logit=logit,
    averaged=frozenset({"experts"}),
)
