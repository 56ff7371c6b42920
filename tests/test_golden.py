"""Numbers worked out by hand from the papers' formulas (METHODS_OFFLINE.md, appendix A).

Errors m_w = .120, m_l = .135 of the policy and r_w = .121, r_l = .134 of the reference, so that
D = -.002; log-likelihoods are -1/2 of them. beta here is 2 kappa.
"""

from collections.abc import Callable
from math import log

import pytest
import torch
from torch import Tensor

from diffpref.emphasis import high_noise
from diffpref.guards import winner
from diffpref.labels import smoothed, thumbs
from diffpref.losses import (
    alpha_divergence,
    brier,
    cross_entropy,
    exo,
    hinge,
    kto,
    lambda_rank,
    linear,
    logistic,
    margin_aware,
    plackett_luce,
    robust,
    score_matching,
    squared,
)
from diffpref.losses.lists import pair_weights
from diffpref.offsets import constant, score_gap
from diffpref.schedule import scaled_linear


def _loglik(*errors: float) -> Tensor:
    return torch.tensor([errors], dtype=torch.float64) / -2


POLICY, REFERENCE = _loglik(0.120, 0.135), _loglik(0.121, 0.134)
WON = torch.tensor([[1.0, 0.0]], dtype=torch.float64)

HEADS: dict[str, tuple[Callable[..., Tensor], float]] = {
    "DPO, Salesforce 2000": (logistic(beta=2000.0), 0.1269280110),
    "DPO, Salesforce 5000": (logistic(beta=5000.0), 0.0067153485),
    "hinge": (hinge(beta=2000.0), 0.0),
    "cDPO .1": (cross_entropy(beta=2000.0, epsilon=0.1), 0.3269280110),
    "rDPO .1": (robust(beta=2000.0, epsilon=0.1), -0.1230719890),
    "IPO, rescaled": (squared(beta=2000.0), 2.25),
    "DMPO / exo .01": (exo(beta=2000.0, alpha=0.01), 0.1924681939),
    "alpha .9999": (alpha_divergence(beta=2000.0, alpha=0.9999), 0.0074051318),
    "alpha 1, the limit": (alpha_divergence(beta=2000.0, alpha=1.0), 0.0074051008),
    "Brier": (brier(beta=2000.0), 0.0142093366),
    "Linear 100, 1e-3": (linear(beta=100.0, floor=1e-3), 0.46 * (0.120 - 0.135)),
    "MaPO": (margin_aware(beta=0.1, scale=0.5, length=1000.0), 0.1225149322),
}


@pytest.mark.parametrize("case", HEADS)
def test_losses_of_the_pair(case: str) -> None:
    loss, expected = HEADS[case]
    assert loss(POLICY, REFERENCE, WON).item() == pytest.approx(expected, abs=5e-11)


def test_the_slope_in_the_winners_error() -> None:
    for beta, expected in ((2000.0, 119.2029220), (5000.0, 16.7321273)):
        m = torch.tensor([[0.120, 0.135]], dtype=torch.float64, requires_grad=True)
        logistic(beta=beta)(m / -2, REFERENCE, WON).sum().backward()
        assert m.grad is not None
        assert m.grad[0, 0].item() == pytest.approx(expected, abs=5e-8)


def test_the_quotient_form_of_the_alpha_divergence_agrees_away_from_its_limit() -> None:
    for alpha in (0.3, 0.9, 0.998):
        p = 1 / (1 + torch.exp(torch.tensor(-2.0, dtype=torch.float64)))
        expected = (p**alpha - (1 - alpha) - alpha * p) / (alpha * (alpha - 1))
        loss = alpha_divergence(beta=2000.0, alpha=alpha)(POLICY, REFERENCE, WON)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-9)


def test_reference_free_heads() -> None:
    """CPO and SimPO with kappa 500: u = 7.5."""
    pair = logistic(beta=1000.0)
    logit = pair.logit(POLICY, None, WON)
    assert logit.item() == pytest.approx(7.5)
    assert (pair.head(logit, WON) + 0.120).item() == pytest.approx(0.1205529315, abs=5e-11)
    shifted = logit - constant(value=0.5)(WON)
    assert pair.head(shifted, WON).item() == pytest.approx(0.0009114665, abs=5e-11)


def test_odpo_offsets() -> None:
    pair = logistic(beta=2000.0)
    logit = pair.logit(POLICY, REFERENCE, WON)
    half = score_gap(scale=0.5)(WON)
    assert pair.head(logit - half, WON).item() == pytest.approx(0.2014132780, abs=5e-11)
    close = torch.tensor([[0.22, 0.20]], dtype=torch.float64)
    trap = score_gap(form="log")(close)
    assert trap.item() == pytest.approx(log(0.02))
    assert pair.head(logit - trap, WON).item() == pytest.approx(0.0027030491, abs=5e-11)


PICKSCORE = (0.11543526500463486, 0.28201571106910706)


@pytest.mark.parametrize(
    ("cosines", "p", "factor", "expected"),
    [
        # The appendix prints ...7622 for the loss; its own factor gives ...7672.
        ((0.22, 0.21), 0.5150032585, 0.3000651701, 0.4374417672),
        ((0.23, 0.20), None, 0.8980399248, 0.1535346243),
    ],
)
def test_smpo(
    cosines: tuple[float, float], p: float | None, factor: float, expected: float
) -> None:
    label = smoothed(low=PICKSCORE[0], high=PICKSCORE[1])(
        torch.tensor([cosines], dtype=torch.float64)
    )
    if p is not None:
        assert label[0, 0].item() == pytest.approx(p, abs=5e-11)
    assert 10 * (label[0, 0] - label[0, 1]).item() == pytest.approx(factor, abs=5e-10)
    loss = logistic(beta=2000.0 * 10)(POLICY, REFERENCE, label)
    assert loss.item() == pytest.approx(expected, abs=5e-10)


def test_kto() -> None:
    g = torch.tensor([[0.001], [-0.001], [0.003], [-0.002]], dtype=torch.float64)
    liked = thumbs(torch.tensor([[1.0], [0.0], [1.0], [0.0]], dtype=torch.float64))
    loss = kto(beta=2000.0)(g / 2, torch.zeros_like(g), liked)
    assert loss.mean().item() == pytest.approx(0.1747393887, abs=5e-11)
    margins = torch.tensor([0.75, 1.25, 2.75, 2.25], dtype=torch.float64)
    assert loss.tolist() == pytest.approx((1 - margins.sigmoid()).tolist())


def test_dspo() -> None:
    """Scalars: eps_theta - eps = .3 and eps_theta - eps_ref = .05 on the winner, D = -.002."""
    winner_, moved, beta = 0.3, 0.05, 0.01
    policy = torch.tensor([[[winner_], [0.0]]], dtype=torch.float64)
    reference = policy - torch.tensor([[[moved], [0.0]]], dtype=torch.float64)
    gap = policy.square() - reference.square()
    # The loser's reference error is set so that D is exactly -.002.
    need = (gap[0, 0, 0] + 0.002).item()
    reference[0, 1, 0] = 0.4
    policy[0, 1, 0] = (need + 0.4**2) ** 0.5
    loss = score_matching(beta=beta).on_residuals(policy, reference, WON)
    assert loss.item() == pytest.approx(0.0898500632, abs=5e-11)


def test_rank_dpo_and_plackett_luce() -> None:
    s = torch.tensor([[-0.002, 0.0, 0.001]], dtype=torch.float64)
    phi = torch.tensor([[1.0, 0.5, 0.0]], dtype=torch.float64)
    weights = pair_weights(phi)[0]
    assert weights[0, 1].item() == pytest.approx(0.3119053946, abs=5e-11)
    assert weights[0, 2].item() == pytest.approx(0.7213475204, abs=5e-11)
    assert weights[1, 2].item() == pytest.approx(0.0782415065, abs=5e-11)
    assert weights.tril().abs().max().item() == 0
    zero = torch.zeros_like(s)
    assert lambda_rank(beta=2000.0)(s / -2, zero, phi).item() == pytest.approx(
        0.0991479633, abs=5e-11
    )
    assert plackett_luce(beta=2000.0)(s / -2, zero, phi).item() == pytest.approx(
        0.4831077071, abs=5e-11
    )


def test_sdpo() -> None:
    residuals = torch.tensor([[1.0, 0.0], [2.0, 1.0]], dtype=torch.float64)
    share = winner(mu=0.9)(residuals, WON)
    assert share.tolist() == pytest.approx([1.0, 0.05])
    assert winner(mu=0.9)(residuals.flip(0), WON.flip(1)).tolist() == pytest.approx([0.05, 1.0])


def test_the_weight_of_noisy_steps() -> None:
    factor = high_noise(scaled_linear()).factor
    found = [round(factor[t].item(), 4) for t in (0, 500, 900, 999)]
    assert found == [1.0, 1.1090, 1.5703, 2.0]
    assert factor.mean().item() == pytest.approx(1.2051, abs=5e-5)
