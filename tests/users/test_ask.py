"""The next pairs to ask: worth what they say, different from each other, always the same."""

import math

import pytest
import torch

from diffpref.users.ask import ask, candidates, information
from diffpref.users.change import add, fit_profile
from diffpref.users.evidence import evidence_of
from diffpref.users.posterior import Belief, Gaps, posterior
from diffpref.users.profile import null_profile
from tests.users.planted import some_pairs, some_prior

PRIOR = some_prior()


def test_information_is_that_of_a_long_simulation() -> None:
    """In bits: entropy of the answer minus its mean entropy given the taste."""
    rng = torch.Generator().manual_seed(0)
    for mean, variance in ((0.0, 2.0), (1.3, 0.7), (-2.0, 4.0)):
        draws = mean + math.sqrt(variance) * torch.randn(400_000, generator=rng).double()
        chance = draws.sigmoid()

        def bits(p: torch.Tensor) -> torch.Tensor:
            return -(p * p.log2() + (1 - p) * (1 - p).log2())

        exact = bits(chance.mean()) - bits(chance).mean()
        at = torch.tensor([mean, variance]).double()[:, None]
        found, whole = information(at[0], at[1])
        assert float(found) == pytest.approx(float(exact), abs=2e-3)
        assert float(whole) == pytest.approx(float(chance.mean()), abs=2e-3)


def test_the_best_question_narrows_the_belief_most_on_average() -> None:
    """Against refitting: mean drop of log det of the covariance over both answers."""
    gap = PRIOR.gaps(some_pairs(30, seed=2)).gap.double()
    start = PRIOR.belief

    def narrowed(row: int) -> float:
        drop = 0.0
        chance = float((gap[row] @ start.mean).sigmoid())
        for share, probability in ((1.0, chance), (0.0, 1 - chance)):
            vote = Gaps(gap=gap[[row]], share=torch.tensor([share]), weight=torch.ones(1))
            drop += probability * float(start.cov.logdet() - posterior(start, vote).cov.logdet())
        return drop

    order = sorted(range(30), key=narrowed, reverse=True)
    (first,) = ask(start, gap, 1)
    assert first.row in order[:3]
    assert 0 < first.bits <= 1


def test_the_second_question_is_not_the_first_one_again() -> None:
    one, two = torch.eye(6).double()[:2]
    cov = torch.diag(torch.tensor([4.0, 3.0, 0, 0, 0, 0]).double())
    belief = Belief(mean=torch.zeros(6).double(), cov=cov)
    found = ask(belief, torch.stack([one, 0.999 * one, two]), 2)
    assert [each.row for each in found] == [0, 2]


def test_equal_questions_give_equal_answers_and_a_repeat_is_not_asked() -> None:
    gap = PRIOR.gaps(some_pairs(20, seed=4)).gap
    assert ask(PRIOR.belief, gap, 5) == ask(PRIOR.belief, gap, 5)
    rows = [each.row for each in ask(PRIOR.belief, gap, 50)]
    assert sorted(rows) == list(range(20))
    assert [each.row for each in ask(PRIOR.belief, gap[[3, 3, 3]], 2)] == [0, 1]


def test_asking_teaches_faster_than_chance() -> None:
    """Information is what is left of it: after asked votes the belief is narrower."""
    pool = evidence_of(PRIOR, some_pairs(60, seed=5))
    asked = fit_profile(PRIOR, pool.rows([q.row for q in ask(PRIOR.belief, pool.gap, 6)]))
    chance = fit_profile(PRIOR, pool.rows(range(6)))
    assert asked.belief.cov.logdet() < chance.belief.cov.logdet()
    assert add(null_profile(PRIOR), pool.rows([0])).pairs == 1


def test_pictures_of_one_prompt_are_paired_and_all_where_none_share_one() -> None:
    assert candidates(["a", "b", "a", "b"]) == [(0, 2), (1, 3)]
    assert candidates(["a", "b", "c"]) == [(0, 1), (0, 2), (1, 2)]
