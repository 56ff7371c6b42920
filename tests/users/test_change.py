"""Profiles that learn and forget: exactly with kept statistics, nearly without."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffpref.errors import DataError, UsageError
from diffpref.users.change import add, fit_profile, forget, mix
from diffpref.users.evidence import Evidence, evidence_of
from diffpref.users.profile import UserProfile, entropy, null_profile
from tests.users.planted import some_pairs, some_prior, swapped

PRIOR = some_prior()
MEAN = some_prior(mean=True)


def votes(count: int, seed: int = 0) -> Evidence:
    return evidence_of(PRIOR, some_pairs(count, seed=seed, ties=True))


def same(one: UserProfile, two: UserProfile) -> bool:
    """Whether two profiles are equal bit for bit, save for when they were made."""
    return (
        torch.equal(one.belief.mean, two.belief.mean)
        and torch.equal(one.belief.cov, two.belief.cov)
        and torch.equal(one.embedding, two.embedding)
        and one.summary() | {"created": ""} == two.summary() | {"created": ""}
    )


@settings(deadline=None, max_examples=15)
@given(first=st.integers(0, 9), second=st.integers(0, 9), seed=st.integers(0, 99))
def test_adding_with_kept_statistics_is_fitting_to_all_votes(
    first: int, second: int, seed: int
) -> None:
    a, b = votes(first, seed), votes(second, seed + 1000)
    start = fit_profile(PRIOR, a, keep=True)
    whole = fit_profile(PRIOR, b.union(a), keep=True)
    assert same(add(start, b), whole)
    assert same(add(add(null(), a), b), whole)


@settings(deadline=None, max_examples=15)
@given(first=st.integers(0, 9), second=st.integers(1, 9), seed=st.integers(0, 99))
def test_forgetting_what_was_added_gives_the_profile_of_before(
    first: int, second: int, seed: int
) -> None:
    before = fit_profile(PRIOR, votes(first, seed), keep=True)
    more = votes(second, seed + 1000)
    assert same(forget(add(before, more), list(more.ids)), before)


def null() -> UserProfile:
    return fit_profile(PRIOR, votes(0), keep=True)


def test_the_table_encoder_adds_and_forgets_exactly_too() -> None:
    a, b = votes(5), votes(4, 7)
    start = fit_profile(PRIOR, a, encoder="table", keep=True)
    whole = fit_profile(PRIOR, a.union(b), encoder="table", keep=True)
    assert same(add(start, b), whole)
    assert same(forget(whole, list(b.ids)), start)


def test_opposite_votes_negate_the_embedding_where_nobody_has_a_taste_in_common() -> None:
    pairs = some_pairs(6)
    one = fit_profile(PRIOR, evidence_of(PRIOR, pairs)).embedding
    two = fit_profile(PRIOR, evidence_of(PRIOR, swapped(pairs))).embedding
    half = PRIOR.size // 2
    assert float(one[:half].abs().max()) > 0.1
    assert torch.allclose(one[:half], -two[:half], atol=1e-5)
    assert torch.allclose(one[half:], two[half:], atol=1e-5)


@pytest.mark.parametrize("prior", [PRIOR, MEAN], ids=["no common taste", "a common taste"])
def test_without_votes_the_embedding_is_zero_and_the_taste_everyones(prior: object) -> None:
    assert isinstance(prior, type(PRIOR))
    nobody = null_profile(prior)
    assert torch.equal(nobody.embedding, torch.zeros(prior.size))
    assert nobody.embedding.dtype == torch.float32
    assert torch.allclose(nobody.belief.mean, prior.spread.mean)
    assert same(fit_profile(prior, votes(0), sources=()), replace(nobody, words=null().words))


def test_votes_make_surer_and_the_second_half_of_the_embedding_says_so() -> None:
    some, many = (fit_profile(PRIOR, votes(count)) for count in (4, 40))
    half = PRIOR.size // 2
    assert bool((some.embedding[half:] < 0).all())
    assert bool((many.embedding[half:] < some.embedding[half:]).all())
    assert entropy(many.belief) < entropy(PRIOR.belief) <= 1


def test_a_vote_that_is_given_twice_counts_once_when_statistics_are_kept() -> None:
    a = votes(6)
    kept = fit_profile(PRIOR, a, keep=True)
    assert same(add(kept, a), kept)
    plain = fit_profile(PRIOR, a)
    assert add(plain, a).pairs == 2 * plain.pairs


def test_without_statistics_adding_is_near_says_so_and_forgetting_is_refused() -> None:
    a, b = votes(8), votes(8, 5)
    exact = fit_profile(PRIOR, a.union(b))
    near = add(fit_profile(PRIOR, a), b)
    assert exact.exact
    assert not near.exact
    gap = (near.belief.mean - exact.belief.mean).norm() / exact.belief.mean.norm()
    assert 0 < float(gap) < 0.15
    assert near.pairs == exact.pairs
    with pytest.raises(UsageError, match="no statistics"):
        forget(near, [a.ids[0]])
    with pytest.raises(UsageError, match="cannot be added to"):
        add(fit_profile(PRIOR, a, encoder="table"), b)


def test_a_vote_to_forget_is_named_by_its_first_digits() -> None:
    a = votes(4)
    kept = fit_profile(PRIOR, a, keep=True)
    assert forget(kept, [a.ids[1][:8]]).pairs == len(a) - 1
    for name, why in (("zz", "there is no vote"), (a.ids[0][:2], "too short|is the id of")):
        with pytest.raises(UsageError, match=why):
            forget(kept, [name])


def test_a_mixture_lies_between_and_of_one_person_is_that_person() -> None:
    one, two = fit_profile(PRIOR, votes(6)), fit_profile(PRIOR, votes(6, 3))
    half = PRIOR.size // 2
    found = mix([one, two], [3.0, 1.0])
    between = 0.75 * one.embedding[:half] + 0.25 * two.embedding[:half]
    assert torch.allclose(found.embedding[:half], between, atol=1e-5)
    assert found.pairs == one.pairs + two.pairs
    assert found.evidence is None
    alone = mix([one, two], [1.0, 0.0])
    assert torch.allclose(alone.embedding, one.embedding, atol=1e-6)
    assert alone.words == one.words


def test_mixing_refuses_what_cannot_be_mixed() -> None:
    one, other = fit_profile(PRIOR, votes(3)), null_profile(MEAN)
    with pytest.raises(DataError, match="different populations"):
        mix([one, other], [1.0, 1.0])
    for weights in ([1.0], [-1.0, 2.0], [0.0, 0.0], [float("nan"), 1.0]):
        with pytest.raises(UsageError, match="--weights"):
            mix([one, one], weights)


def test_the_order_a_pair_is_written_in_changes_nothing() -> None:
    pairs = some_pairs(5)
    turned = replace(pairs, first=pairs.second, second=pairs.first, share=1 - pairs.share)
    one, two = evidence_of(PRIOR, pairs), evidence_of(PRIOR, turned)
    assert one.ids == two.ids
    assert same(fit_profile(PRIOR, one), fit_profile(PRIOR, two))
