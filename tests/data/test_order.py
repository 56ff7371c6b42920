"""Which rows make up a window."""

from collections import Counter
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from diffpref.data.order import Order
from diffpref.draws import permutation


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
