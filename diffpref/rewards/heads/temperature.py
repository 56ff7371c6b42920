r"""One number that makes probabilities mean what they say (temperature scaling, 1706.04599).

    beta = argmin_beta mean_i - p_i log sigma(beta u_i) - (1 - p_i) log sigma(-beta u_i)
    T = 1 / beta

There is no bias: exchanging the two pictures must exchange the probabilities.
"""

import torch

from diffpref.types import PerRow

LOWEST, HIGHEST = 1e-2, 1e2
HALVINGS = 80


def best_scale(logit: PerRow, share: PerRow, weight: PerRow | None = None) -> float:
    """Return beta, the factor of the log odds with the smallest loss; within LOWEST..HIGHEST.

    The loss is convex in beta, so its slope is bisected, in float64.
    """
    u, p = logit.double(), share.double()
    w = torch.ones_like(u) if weight is None else weight.double()

    def slope(beta: float) -> float:
        return float((w * u * ((1 - p) * (beta * u).sigmoid() - p * (-beta * u).sigmoid())).sum())

    low, high = LOWEST, HIGHEST
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low * high) ** 0.5
