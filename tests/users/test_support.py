"""Support never holds the query, nor a picture of it."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from diffpref.users.support import SIZES, allowed, draw_support
from tests.users.planted import some_pairs


@settings(deadline=None, max_examples=60)
@given(
    votes=st.integers(1, 40),
    people=st.integers(1, 3),
    pictures=st.integers(4, 30),
    seed=st.integers(0, 999),
    data=st.data(),
)
def test_a_support_never_holds_the_query_its_pictures_or_another_persons_vote(
    votes: int, people: int, pictures: int, seed: int, data: st.DataObject
) -> None:
    """Pictures also stand twice in the table, under other rows, as equal files do."""
    pairs = some_pairs(votes, seed=seed, people=people, pictures=pictures)
    pairs = replace(pairs, keys=tuple(pairs.keys[row // 2] for row in range(pictures)))
    query = data.draw(st.integers(0, votes - 1))
    shown = {pairs.keys[int(pairs.first[query])], pairs.keys[int(pairs.second[query])]}
    rows = draw_support(pairs, query, seed=seed, position=query)
    assert query not in rows
    assert len(set(rows)) == len(rows) <= max(SIZES)
    for row in rows:
        assert int(pairs.person[row]) == int(pairs.person[query])
        assert pairs.keys[int(pairs.first[row])] not in shown
        assert pairs.keys[int(pairs.second[row])] not in shown
    assert len(rows) in SIZES or rows == allowed(pairs, query)


def test_every_size_is_drawn_and_a_draw_can_be_repeated() -> None:
    pairs = some_pairs(60)
    drawn = [draw_support(pairs, 0, seed=1, position=at) for at in range(80)]
    assert {len(rows) for rows in drawn} == set(SIZES)
    assert drawn == [draw_support(pairs, 0, seed=1, position=at) for at in range(80)]
    assert drawn[:9] != [draw_support(pairs, 0, seed=2, position=at) for at in range(9)]
