"""Which rows make up a window."""

from collections import Counter
from itertools import islice
from random import Random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffpref.data.order import Order, evenly
from diffpref.draws import Draws, permutation
from diffpref.schedule import scaled_linear
from diffpref.timesteps import uniform
from diffpref.trajectories.inversion import inversion


def windows(order: Order, count: int, first: int = 0) -> list[list[int]]:
    return list(islice(order.windows(first), count))


def test_one_group_is_walked_in_the_permutation_of_each_epoch() -> None:
    order = Order(groups=[range(10)], seed=3, size=4)
    walked = [row for window in windows(order, 10) for row in window]
    expected = [int(row) for epoch in range(4) for row in permutation(3, epoch, 10)]
    assert walked == expected


GROUPS = st.lists(st.integers(1, 12), min_size=1, max_size=4)


@settings(max_examples=25)
@given(GROUPS, st.integers(1, 7), st.integers(0, 9), st.integers(0, 20))
def test_windows_never_mix_groups_and_starting_late_changes_nothing(
    sizes: list[int], size: int, seed: int, first: int
) -> None:
    groups = [[100 * group + row for row in range(count)] for group, count in enumerate(sizes)]
    order = Order(groups=groups, seed=seed, size=size)
    whole = windows(order, 30)
    assert all(len(window) == size for window in whole)
    assert all(len({row // 100 for row in window}) == 1 for window in whole)
    assert windows(order, 30 - first, first) == whole[first:]


@settings(max_examples=25)
@given(GROUPS, st.integers(1, 7))
def test_every_row_is_seen_equally_often(sizes: list[int], size: int) -> None:
    groups = [[100 * group + row for row in range(count)] for group, count in enumerate(sizes)]
    order = Order(groups=groups, seed=0, size=size)
    seen = Counter(row for window in windows(order, sum(sizes)) for row in window)
    for group in groups:
        counts = {seen[row] for row in group}
        assert max(counts) - min(counts) <= 1
        assert max(counts) <= size + 1
    turns = [sum(seen[row] for row in group) // size for group in groups]
    assert turns == sizes


def test_the_seed_changes_the_order() -> None:
    first = windows(Order(groups=[range(50)], seed=0, size=50), 1)
    second = windows(Order(groups=[range(50)], seed=1, size=50), 1)
    assert first != second
    assert sorted(first[0]) == sorted(second[0]) == list(range(50))


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 6), st.randoms(use_true_random=False))
def test_ranks_differ_by_no_more_than_the_largest_and_the_smallest_effort(
    ranks: int, rounds: int, luck: Random
) -> None:
    efforts = torch.tensor([luck.randint(0, 20) for _ in range(ranks * rounds)])
    order = evenly(efforts, ranks)
    assert sorted(order) == list(range(ranks * rounds))
    sums = [int(efforts[order[rank::ranks]].sum()) for rank in range(ranks)]
    assert max(sums) - min(sums) <= int(efforts.max() - efforts.min())


def test_inversions_of_a_published_step_are_shared_evenly_by_64_gpus() -> None:
    climb, ranks = inversion(scaled_linear(), steps=10, iters=1), 64
    before, after = list[float](), list[float]()
    for step in range(5):  # of 1024 pairs, as SmPO's recipe for SDXL
        calls = climb.passes(uniform()(Draws(0, step * 1024 + torch.arange(1024)), 1000)).double()
        order = evenly(calls.long(), ranks)
        for found, shared in ((before, calls), (after, calls[order])):
            sums = shared.view(-1, ranks).sum(dim=0)
            found.append(float(sums.max() / sums.mean()))
    assert min(before) > 1.25
    assert max(after) < 1.03
