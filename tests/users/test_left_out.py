"""Votes left out: by refitting one at a time, pictures shared with others included."""

from dataclasses import replace

import pytest
import torch

from diffpref.users.change import fit_profile
from diffpref.users.evidence import Evidence, evidence_of
from diffpref.users.left_out import LeftOut, hits, left_out, verdict
from diffpref.users.posterior import log_odds, posterior, stored
from diffpref.users.table import table_belief
from tests.users.planted import some_pairs, some_prior

PRIOR = some_prior(mean=True)


def with_taste(votes: Evidence, sharp: float, seed: int = 0) -> Evidence:
    """Votes by somebody who likes what the population dislikes."""
    rng = torch.Generator().manual_seed(seed)
    chance = (-sharp * (votes.gap.double() @ PRIOR.spread.mean)).sigmoid()
    return replace(votes, share=(torch.rand(len(votes), generator=rng) < chance).float())


def test_every_vote_is_judged_by_a_profile_that_saw_none_of_its_pictures() -> None:
    votes = evidence_of(PRIOR, some_pairs(14, pictures=12, ties=True))
    found, own, everyone = left_out(PRIOR.belief, PRIOR.belief, votes), 0.0, 0.0
    decided = [row for row in range(len(votes)) if votes.share[row] != 0.5]
    for row in decided:
        shown = {votes.first[row], votes.second[row]}
        rest = [i for i in range(len(votes)) if not shown & {votes.first[i], votes.second[i]}]
        belief = posterior(PRIOR.belief, votes.rows(rest).gaps())
        share = votes.share[[row]]
        own += float(hits(log_odds(belief, votes.gap[[row]]), share))
        everyone += float(hits(log_odds(PRIOR.belief, votes.gap[[row]]), share))
    assert 0 < len(decided) < 14
    assert (found.n, found.own, found.everyone) == (len(decided), own, everyone)


def test_the_verdicts_are_honest() -> None:
    base = evidence_of(PRIOR, some_pairs(60))
    assert "too few pairs" in fit_profile(PRIOR, base.rows(range(3))).verdict
    clear = fit_profile(PRIOR, with_taste(base, 20.0))
    assert clear.verdict == "better than the population on votes left out"
    assert clear.left_out.accuracy is not None
    assert clear.left_out.accuracy > 0.7
    usual = fit_profile(PRIOR, with_taste(base, -1e6))
    assert usual.verdict.startswith("no better than the population")
    ties = replace(base, share=torch.full_like(base.share, 0.5))
    assert fit_profile(PRIOR, ties).verdict.startswith("not measured")


def test_coin_flips_are_not_called_better_than_the_population() -> None:
    """Of 40 people who flip coins few may be called better: chance alone gives 1 in 40."""
    flips = [fit_profile(PRIOR, evidence_of(PRIOR, some_pairs(20, seed=n))) for n in range(40)]
    called = [each for each in flips if each.verdict.startswith("better")]
    assert len(called) <= 4


def test_a_lead_within_chance_is_only_perhaps_better() -> None:
    found = LeftOut(n=10, own=6.0, everyone=5.0, ahead=1.0, square=5.0)
    assert verdict(10, found).startswith("perhaps")


def test_sums_of_two_sessions_add_up() -> None:
    one = LeftOut(n=2, own=1.5, everyone=1.0, ahead=0.5, square=0.25)
    assert one.plus(one) == LeftOut(n=4, own=3.0, everyone=2.0, ahead=1.0, square=0.5)
    assert LeftOut().accuracy is None
    assert one.plus(LeftOut()).accuracy == pytest.approx(0.75)


def test_a_table_profile_is_judged_by_refitting_the_table() -> None:
    votes = evidence_of(PRIOR, some_pairs(9, pictures=10))
    found, own = fit_profile(PRIOR, votes, encoder="table").left_out, 0.0
    for row in range(len(votes)):
        shown = {votes.first[row], votes.second[row]}
        rest = [i for i in range(len(votes)) if not shown & {votes.first[i], votes.second[i]}]
        belief = stored(table_belief(PRIOR, votes.rows(rest).gaps()))
        own += float(hits(log_odds(belief, votes.gap[[row]]), votes.share[[row]]))
    assert (found.n, found.own) == (len(votes), own)
