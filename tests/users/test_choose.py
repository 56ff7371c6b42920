"""Learning a population: its sizes are chosen on people it was not learned from."""

from dataclasses import replace

import pytest
import torch

from diffpref.errors import DataError
from diffpref.rewards.heads.pairs import Pairs
from diffpref.users.choose import Search, learn_prior, recentred, split_people
from diffpref.users.exam import make_exam
from diffpref.users.features import fit_whitening
from diffpref.users.learn import Spread
from tests.users.planted import REF, some_pairs

SEARCH = Search(widths=(3, 6), ranks=(1, 2), floors=(None,), believed=(1.0,), rounds=6)


def voted(people: int, votes: int, seed: int) -> Pairs:
    """People who differ along two directions of the embedding, and like a third in common."""
    pairs = some_pairs(people * votes, seed=seed, people=people)
    rng = torch.Generator().manual_seed(seed)
    tastes = torch.zeros(people, pairs.images.shape[1])
    tastes[:, :2] = 6 * torch.randn(people, 2, generator=rng)
    tastes[:, 2] = 4
    gap = pairs.images[pairs.first] - pairs.images[pairs.second]
    chance = (gap * tastes[pairs.person]).sum(dim=1).sigmoid()
    return replace(pairs, share=(torch.rand(len(pairs), generator=rng) < chance).float())


def test_a_population_is_learned_and_own_votes_help_held_out_people() -> None:
    train, held = voted(40, 30, 1), voted(12, 40, 2)
    prior = learn_prior(train, held, REF, name="toy", search=SEARCH)
    assert prior.about["chosen"]["rank"] == 2
    assert prior.about["held_loss"] < prior.about["held_loss_population"] - 0.01
    assert prior.rows.shape == (40, len(prior.spread.mean))
    again = learn_prior(train, held, REF, name="else", search=SEARCH)
    assert again.sha256 == prior.sha256


def test_the_mean_is_believed_as_far_as_held_out_votes_bear_it_out() -> None:
    rng = torch.Generator().manual_seed(0)
    true = torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64)
    gap = torch.randn(4000, 3, generator=rng, dtype=torch.float64)
    share = (torch.rand(4000, generator=rng).double() < (gap @ true).sigmoid()).double()
    eye = torch.eye(3, dtype=torch.float64)
    too_sure = Spread(mean=3 * true, basis=eye[:, :1], strength=eye[0, :1], floor=0.2)
    from diffpref.users.posterior import Gaps

    found = recentred(too_sure, Gaps(gap=gap, share=share, weight=torch.ones(4000)), 0.25)
    assert torch.allclose(found.mean, true, atol=0.15)
    assert float(found.strength[0]) == pytest.approx(0.25)
    assert found.floor == pytest.approx(0.1)


def test_votes_to_see_and_votes_to_foresee_share_no_prompt() -> None:
    held = some_pairs(200, people=5)
    whitening = fit_whitening(held, 4)
    exam = make_exam(held, whitening)
    assert set(exam.support) == {0, 1, 4, 16}
    assert len(exam.query) == 10
    asked = {tuple(row) for each in exam.query for row in each.gap.tolist()}
    seen = {tuple(row) for each in exam.support[16] for row in each.gap.tolist()}
    assert asked
    assert seen
    assert not asked & seen


def test_a_source_in_parts_keeps_them_and_its_test_part_is_left_alone() -> None:
    pairs = some_pairs(30, people=6)
    parts = ("train",) * 10 + ("validation",) * 10 + ("test",) * 10
    train, held = split_people(pairs, parts)
    assert (len(train), len(held)) == (10, 10)
    assert torch.equal(train.first, pairs.first[:10])
    many = some_pairs(400, people=100)
    train, held = split_people(many, ("train",) * 400)
    assert not set(train.voters()) & set(held.voters())
    assert len(train) + len(held) == 400
    assert 5 <= len(held.voters()) <= 40


def test_too_few_people_are_refused() -> None:
    with pytest.raises(DataError, match="give votes of more people"):
        learn_prior(some_pairs(20, people=2), some_pairs(20, people=5), REF, name="toy")
