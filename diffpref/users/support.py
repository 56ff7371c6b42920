"""Few votes of a person beside one that is asked: never that pair, never one of its pictures."""

from collections.abc import Sequence

import torch

from diffpref.draws import generator
from diffpref.rewards.heads.pairs import Pairs

SIZES = (1, 2, 4, 8, 16)
"""How many votes a support may hold, each equally often, so that a model meets all of them."""


def allowed(pairs: Pairs, query: int) -> list[int]:
    """Return the rows that may support a query row.

    They are the same person's, and none shares a picture with the query, by content.
    """
    shown = _pictures(pairs, query)
    mine = (pairs.person == pairs.person[query]).nonzero()[:, 0].tolist()
    return [row for row in mine if row != query and not shown & _pictures(pairs, row)]


def draw_support(
    pairs: Pairs, query: int, *, seed: int, position: int, sizes: Sequence[int] = SIZES
) -> list[int]:
    """Return the rows of a random support of a query row; all of them where there are fewer.

    Args:
        pairs: votes of any people.
        query: the row that is asked.
        seed: of the draw.
        position: of the query in training; another position gives another draw.
        sizes: one of these is drawn.
    """
    rows = allowed(pairs, query)
    rng = generator(seed, position, "users/support")
    size = sizes[int(torch.randint(len(sizes), (), generator=rng))]
    order = torch.randperm(len(rows), generator=rng).tolist()
    return sorted(rows[each] for each in order[:size])


def _pictures(pairs: Pairs, row: int) -> set[bytes]:
    return {pairs.keys[int(pairs.first[row])], pairs.keys[int(pairs.second[row])]}
