"""Support: other choices of the same user, none of which shows an image of the row."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffpref.data.personal import Personal
from diffpref.data.prepare import pixels_of
from diffpref.data.rows import CachedRow
from diffpref.data.support import SupportPair, SupportSampler, UserEncoder, decided, support_pairs
from diffpref.data.user_encoders import WorldTaste, fit_mean_difference, load_mean_difference
from diffpref.errors import ConfigError, DataError
from diffpref.types import Conditioning, PreferenceBatch
from diffpref.world.crowd import bundled_crowd
from diffpref.world.people import POPULATION

SIZES = (1, 2, 4, 8, 16)
CUTS = ("64x64+0+0", "64x48+0+8")
USERS = ("ann", "bob", None)

entries = st.tuples(st.integers(0, 11), st.sampled_from(CUTS))
choices = st.tuples(
    st.sampled_from(USERS),
    st.tuples(entries, entries).filter(lambda pair: pair[0][0] != pair[1][0]),
    st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]),
)
"""Who chose, between which images (some twice, cut in two ways), and what: data of few images."""


def rows_of(drawn: list[Any]) -> list[CachedRow]:
    return [
        CachedRow(
            prompt="a thing",
            images=tuple(f"{number:04d}-{cut}" for number, cut in pair),
            scores=scores,
            user=user,
        )
        for user, pair, scores in drawn
    ]


@given(drawn=st.lists(choices, min_size=1, max_size=14), position=st.integers(0, 10**6))
def test_support_never_shows_the_row_or_any_image_of_it(drawn: list[Any], position: int) -> None:
    data = rows_of(drawn)
    sampler = SupportSampler(rows=data, sizes=SIZES, seed=3)
    for number, row in enumerate(data):
        for user in (None, "ann", "bob"):
            found = sampler.draw(number, position, user)
            shown = {pixels_of(image) for each in found for image in data[each].images}
            assert not shown & {pixels_of(image) for image in row.images}
            assert number not in found
            assert len(set(found)) == len(found) <= max(SIZES)
            assert {data[each].user for each in found} <= {row.user if user is None else user}
            assert all(decided(data[each]) for each in found)
            assert found == sampler.draw(number, position, user)
            if sampler.candidates(number, user):
                assert found


@given(drawn=st.lists(choices, min_size=1, max_size=14), position=st.integers(0, 10**6))
def test_parts_never_show_the_row_and_what_can_be_drawn_is_known_before(
    drawn: list[Any], position: int
) -> None:
    data = rows_of(drawn)
    sampler = SupportSampler(rows=data, sizes=(2, 4), seed=3, parted=True)
    known = sampler.drawable()
    for number, row in enumerate(data):
        found = sampler.draw(number, position)
        shown = {pixels_of(image) for each in found for image in data[each].images}
        assert not shown & {pixels_of(image) for image in row.images}
        assert number not in found
        assert bool(found) == bool(sampler.candidates(number))
        assert not found or found in known or len(found) < 4
        assert found == sampler.draw(number, position)


def test_parts_are_few_and_disjoint() -> None:
    sampler = SupportSampler(rows=make_rows(2, 16), sizes=(4,), seed=0, parted=True)
    drawn = {tuple(sampler.draw(row, place)) for row in range(32) for place in range(20)}
    assert drawn == {tuple(part) for part in sampler.drawable()}
    assert len(drawn) == 8
    assert sorted(each for part in drawn for each in part) == list(range(32))


@given(drawn=st.lists(choices, min_size=1, max_size=14))
def test_every_choice_of_the_user_that_may_be_used_can_be_drawn(drawn: list[Any]) -> None:
    data = rows_of(drawn)
    sampler = SupportSampler(rows=data, sizes=(64,), seed=0)
    for number, row in enumerate(data):
        allowed = {
            other
            for other, each in enumerate(data)
            if row.user is not None
            and each.user == row.user
            and each.scores[0] != each.scores[1]
            and not {i.split("-")[0] for i in each.images} & {i.split("-")[0] for i in row.images}
        }
        assert set(sampler.draw(number, 5)) == allowed


def make_rows(users: int, choices: int) -> list[CachedRow]:
    """Return rows of which no two share an image."""
    return [
        CachedRow(
            prompt=f"thing {number}",
            images=(f"{2 * number:04d}-cut", f"{2 * number + 1:04d}-cut"),
            scores=(1.0, 0.0) if number % 3 else (0.0, 1.0),
            user=f"user {number % users}",
        )
        for number in range(users * choices)
    ]


def test_every_size_is_drawn_as_often() -> None:
    sampler = SupportSampler(rows=make_rows(1, 30), sizes=SIZES, seed=0)
    drawn = [len(sampler.draw(0, position)) for position in range(2000)]
    shares = [drawn.count(size) / len(drawn) for size in SIZES]
    assert sum(shares) == 1
    assert shares == pytest.approx([0.2] * 5, abs=0.03)


def test_a_support_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"users\.support"):
        SupportSampler(rows=[], sizes=(0, 4), seed=0)


def features_of(data: Sequence[CachedRow]) -> dict[str, Tensor]:
    names = sorted({pixels_of(image) for row in data for image in row.images})
    rng = torch.Generator().manual_seed(1)
    return dict(zip(names, torch.randn(len(names), 5, generator=rng), strict=True))


def test_the_chosen_image_comes_first_whichever_it_is() -> None:
    data = make_rows(1, 4)
    features = features_of(data)
    for row, pair in zip(data, support_pairs(data, features), strict=True):
        won = row.images[0 if row.scores[0] == 1 else 1]
        assert pair.images[0] == pixels_of(won)
        assert torch.equal(pair.chosen, features[pixels_of(won)])
        assert (pair.user, pair.prompt) == (row.user, row.prompt)


def test_the_mean_difference_is_its_equation() -> None:
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(500, 5, generator=rng) @ torch.randn(5, 5, generator=rng) + 3
    encoder = fit_mean_difference(features, 4)
    assert isinstance(encoder, UserEncoder)
    white = (features - features.mean(dim=0)) @ encoder.whitening
    assert torch.allclose(white.T @ white / 500, torch.eye(4), atol=1e-4)
    data = [replace(row, weight=1.0 + place) for place, row in enumerate(make_rows(1, 3))]
    table = features_of(data)
    expected, total = torch.zeros(4), 0.0
    for row in data:
        first, second = (table[pixels_of(image)] for image in row.images)
        gap = first - second if row.scores[0] > row.scores[1] else second - first
        for axis in range(4):
            expected[axis] += row.weight * float(gap @ encoder.whitening[:, axis])
        total += row.weight
    assert torch.allclose(encoder(support_pairs(data, table)), expected / total, atol=1e-5)


def test_an_encoder_is_the_same_after_refitting_and_loading(tmp_path: Path) -> None:
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(2))
    first, again = fit_mean_difference(features, 3), fit_mean_difference(features.clone(), 3)
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != fit_mean_difference(features + features.square(), 3).fingerprint
    loaded = load_mean_difference(first.save(tmp_path))
    assert torch.equal(loaded.whitening, first.whitening)
    assert (loaded.width, loaded.fingerprint) == (3, first.fingerprint)


def test_more_directions_than_there_are_is_refused() -> None:
    flat = torch.randn(50, 2, generator=torch.Generator().manual_seed(2)) @ torch.ones(2, 6)
    with pytest.raises(ConfigError, match="1 directions") as refused:
        fit_mean_difference(flat, 3)
    assert "users.width" in str(refused.value)


def _sum(support: Sequence[SupportPair]) -> Tensor:
    return torch.stack([pair.chosen - pair.rejected for pair in support]).sum(dim=0)


class Adding:
    """An encoder whose vectors are easy to work out."""

    width, fingerprint = 5, "adding"

    def __call__(self, support: Sequence[SupportPair], /) -> Tensor:
        return _sum(support)


def personal(data: Sequence[CachedRow], **options: Any) -> Personal:
    return Personal(
        support=SupportSampler(rows=data, sizes=(4,), seed=0),
        encode=Adding(),
        features=features_of(data),
        **options,
    )


def batch_of(numbers: Sequence[int], positions: Sequence[int]) -> PreferenceBatch:
    b = len(numbers)
    return PreferenceBatch(
        latents=torch.zeros(b, 2, 1, 2, 2),
        cond=Conditioning(text=torch.zeros(b, 1, 1)),
        score=torch.tensor([[1.0, 0.0]]).expand(b, 2),
        positions=torch.tensor(positions),
    )


def test_rows_are_told_their_own_users_vector_from_other_choices() -> None:
    data = make_rows(3, 8)
    users = personal(data)
    told = users.tell(batch_of([0, 7], [11, 12]), [0, 7]).cond
    assert told.user is not None
    assert told.gate is not None
    assert told.user.shape == (2, 1, 5)
    assert told.gate.tolist() == [1.0, 1.0]
    for place, (row, position) in enumerate(((0, 11), (7, 12))):
        chosen = users.support.draw(row, position)
        assert {data[each].user for each in chosen} == {data[row].user}
        pairs = support_pairs([data[each] for each in chosen], users.features)
        assert torch.equal(told.user[place, 0], _sum(pairs))
    rows = told.repeat_rows(2)
    assert rows.user is not None
    assert torch.equal(rows.user[0], rows.user[1])  # both images of a prompt are one user's


def test_a_row_without_user_or_other_choices_has_its_gate_closed() -> None:
    data = [*make_rows(1, 5), replace(make_rows(1, 9)[8], user=None)]
    data.append(replace(make_rows(1, 10)[9], user="only once"))
    told = personal(data).tell(batch_of([0, 5, 6], [0, 1, 2]), [0, 5, 6]).cond
    assert told.gate is not None
    assert told.user is not None
    assert told.gate.tolist() == [1.0, 0.0, 0.0]
    assert not told.user[1:].any()


def test_dropout_closes_that_share_of_gates_and_changes_no_vector() -> None:
    data = make_rows(1, 30)
    numbers, positions = [n % 30 for n in range(600)], list(range(600))
    batch = batch_of(numbers, positions)
    plain = personal(data).tell(batch, numbers).cond
    dropped = personal(data, dropout=0.25).tell(batch, numbers).cond
    assert dropped.gate is not None
    assert float(dropped.gate.mean()) == pytest.approx(0.75, abs=0.05)
    assert set(dropped.gate.tolist()) == {0.0, 1.0}
    assert dropped.user is not None
    assert plain.user is not None
    assert torch.equal(dropped.user, plain.user)


def disputed() -> list[CachedRow]:
    """Return 12 pairs both of two users voted on: they differ about the first six."""
    data = []
    for number in range(12):
        images = (f"{2 * number:04d}-cut", f"{2 * number + 1:04d}-cut")
        for user in ("ann", "bob"):
            won = user == "ann" or number >= 6
            scores = (1.0, 0.0) if won else (0.0, 1.0)
            data.append(
                CachedRow(prompt=f"thing {number}", images=images, scores=scores, user=user)
            )
    return data


def test_counter_users_join_the_window_with_the_same_draws() -> None:
    data = disputed()
    users = personal(data, counter=1.0)
    drawn = [(0, 100), (2, 101), (20, 102), (4, 103), (22, 104), (14, 105)]
    found = users.arranged(drawn)
    # 0, 2 and 4 are disputed; their opposites take the last places, as far as there is room
    assert found[:3] == drawn[:3]
    assert found[5] == (1, 100)
    assert found[4] == (3, 101)
    assert len(found) == len(drawn)
    assert found[3] in {(4, 103), (5, 103)}
    for row, position in found[4:]:
        partner = next(r for r, p in drawn if p == position)
        assert set(data[row].images) == set(data[partner].images)
        assert data[row].user != data[partner].user
        assert data[row].scores != data[partner].scores
    assert personal(data).arranged(drawn) == drawn


def test_counter_users_without_any_dispute_are_refused() -> None:
    with pytest.raises(ConfigError, match="chose differently") as refused:
        personal(make_rows(3, 4), counter=0.5)
    assert "users.counter" in str(refused.value)


def test_other_users_and_nobody_can_be_told_instead() -> None:
    data = make_rows(2, 8)
    batch, own = batch_of([0], [3]), personal(data)
    mine = own.tell(batch, [0]).cond
    theirs = personal(data, instead={"user 0": "user 1"}.get).tell(batch, [0]).cond
    zero = personal(data, instead={"user 0": ""}.get).tell(batch, [0]).cond
    assert mine.user is not None
    assert theirs.user is not None
    assert zero.user is not None
    assert zero.gate is not None
    assert not torch.equal(mine.user, theirs.user)
    assert not zero.user.any()
    assert zero.gate.tolist() == [1.0]


def test_the_upper_bound_is_the_voters_exact_taste() -> None:
    row = replace(make_rows(1, 1)[0], user="43")
    pairs = support_pairs([row], features_of([row]))
    taste = bundled_crowd()["43"].taste.tolist()
    expected = [(mine - m) / 0.5 for mine, m in zip(taste, POPULATION.values(), strict=True)]
    assert WorldTaste()(pairs).tolist() == pytest.approx(expected, abs=1e-5)
    assert WorldTaste().width == len(expected)
    with pytest.raises(DataError, match="not known"):
        WorldTaste()(support_pairs([replace(row, user="stranger")], features_of([row])))
