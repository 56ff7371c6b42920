"""Whitened features: unit differences, own score first, the same in any precision."""

import torch

from diffpref.rewards.heads.items import cosine
from diffpref.users.features import fit_whitening
from tests.users.planted import D, some_pairs, some_prior

PAIRS = some_pairs(500, seed=8)


def test_differences_have_unit_variance_and_the_embeddings_directions_are_uncorrelated() -> None:
    whitening = fit_whitening(PAIRS, D)
    first, second = (whitening(each).double() for each in PAIRS.sides())
    gap = first - second
    second_moment = gap.T @ gap / len(gap)
    assert torch.allclose(second_moment.diagonal(), torch.ones(D + 1).double(), atol=1e-3)
    assert torch.allclose(second_moment[1:, 1:], torch.eye(D).double(), atol=1e-3)
    assert float(torch.cat([first, second]).mean(dim=0).abs().max()) < 1e-4


def test_the_first_feature_is_the_scorers_own_score() -> None:
    first, second = PAIRS.sides()
    gap = fit_whitening(PAIRS, 2)
    own = (cosine(first) - cosine(second)).double()
    found = (gap(first) - gap(second))[:, 0].double()
    assert float(torch.corrcoef(torch.stack([own, found]))[0, 1]) > 0.999999


def test_verdicts_are_not_read_and_width_is_a_ceiling() -> None:
    from dataclasses import replace

    other = replace(PAIRS, share=1 - PAIRS.share)
    assert torch.equal(fit_whitening(PAIRS, 3).matrix, fit_whitening(other, 3).matrix)
    assert fit_whitening(PAIRS, 3).width == 4
    assert fit_whitening(PAIRS, 99).width == D + 1


def test_hashes_change_with_what_they_stand_for_and_with_nothing_else() -> None:
    from dataclasses import replace

    one, other = some_prior(), some_prior(mean=True)
    assert one.sha256 == some_prior(name="else").sha256
    assert one.encoder_sha256 == other.encoder_sha256
    assert one.sha256 != other.sha256
    moved = replace(one, whitening=replace(one.whitening, mean=one.whitening.mean + 1))
    assert moved.encoder_sha256 != one.encoder_sha256
    assert moved.sha256 != one.sha256
