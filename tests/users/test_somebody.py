"""Somebody drawn is as far from everyone as people of so many votes are."""

from dataclasses import replace

import torch

from diffpref.users import find_prior, null_profile
from diffpref.users.posterior import Belief
from diffpref.users.somebody import somebody


def test_without_votes_somebody_else_is_the_population_too() -> None:
    nobody = null_profile(find_prior("bt-world"))
    assert float(somebody(nobody, 5).embedding.abs().max()) < 1e-3


def test_people_drawn_spread_by_what_votes_taught() -> None:
    nobody = null_profile(find_prior("bt-world"))
    start = nobody.prior.belief
    mine = replace(nobody, belief=Belief(mean=start.mean, cov=start.cov / 4), pairs=30)
    means = torch.stack([somebody(mine, seed).belief.mean for seed in range(400)])
    spread = torch.cov(means.T)
    ratio = float(spread.diagonal().sum() / (0.75 * start.cov.diagonal().sum()))
    assert abs(ratio - 1) < 0.1
    assert torch.allclose(somebody(mine, 1).belief.mean, means[1])
    assert not torch.allclose(means[1], means[2])
    assert somebody(mine, 1).evidence is None
