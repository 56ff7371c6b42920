"""The order in which a round's items are learned from: random, with the timesteps mixed evenly."""

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.draws import permutation


def mixed(seed: int, turn: int, items: Mapping[str, Tensor]) -> Int[Tensor, " m"]:
    """Return a permutation of a round's items whose every stretch has the round's timesteps.

    The filter can leave some t with few items. Each t's items, in random order, are laid out at
    equal distances over the whole, the j-th of n at (j + 1/2) / n; where several t share a place,
    their order is random too. A stretch then has of every t its share of the round, give or take
    about one; every item is still learned from equally often, so a rare t is not repeated.

    Args:
        seed: of the run.
        turn: how many times any items were gone through before.
        items: of one round; those without t have but one stratum.
    """
    size = len(next(iter(items.values()))) if items else 0
    order = permutation(seed, turn, size)
    if "t" not in items:
        return order
    steps = items["t"].reshape(size, -1)[order, 0]
    place = torch.zeros(size, dtype=torch.float64)
    for t in steps.unique():
        here = steps == t
        n = int(here.sum())
        place[here] = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return order[place.argsort(stable=True)]
