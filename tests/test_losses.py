"""Golden values of every loss, and how labels and settings enter.

Golden inputs: mean squared errors .120 and .135 of the policy on the preferred and the other
image, .121 and .134 of the reference, so that D = -.002 and u = 2 at beta 2000.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffpref.errors import ConfigError
from diffpref.losses import (
    PairLoss,
    cross_entropy,
    exo,
    hinge,
    likelihood,
    log_ratio,
    logistic,
    robust,
    squared,
)
from diffpref.strength import Strength

POLICY = torch.tensor([[0.120, 0.135]], dtype=torch.float64) / -2
REFERENCE = torch.tensor([[0.121, 0.134]], dtype=torch.float64) / -2
WON = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
TIE = torch.tensor([[0.5, 0.5]], dtype=torch.float64)


def _at(loss: PairLoss, u: float, label: Tensor = WON) -> Tensor:
    """Evaluate a loss with beta 1 at logit u through its public signature."""
    return loss(torch.tensor([[u, 0.0]], dtype=torch.float64), None, label)


@pytest.mark.parametrize(
    ("loss", "golden"),
    [
        (logistic(beta=2000.0), 0.1269280110),
        (logistic(beta=5000.0), 0.0067153485),
        (hinge(beta=2000.0), 0.0),
        (cross_entropy(beta=2000.0), 0.1269280110),
        (cross_entropy(beta=2000.0, epsilon=0.1), 0.3269280110),
        (robust(beta=2000.0, epsilon=0.1), -0.1230719890),
        (squared(beta=2000.0), 2.25),
        (exo(beta=2000.0, alpha=0.01), 0.1924681939),
        (likelihood(), 0.120),
    ],
)
def test_golden_values_hold(loss: Callable[..., Tensor], golden: float) -> None:
    assert float(loss(POLICY, REFERENCE, WON)) == pytest.approx(golden, abs=6e-11)


def test_golden_logits_follow_the_released_beta() -> None:
    assert float(logistic(beta=2000.0).logit(POLICY, REFERENCE, WON)) == pytest.approx(2.0)
    assert float(logistic(beta=5000.0).logit(POLICY, REFERENCE, WON)) == pytest.approx(5.0)


@pytest.mark.parametrize(("beta", "slope"), [(2000.0, 119.2029220), (5000.0, 16.7321273)])
def test_golden_gradients_hold(beta: float, slope: float) -> None:
    errors = torch.tensor([[0.120, 0.135]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(logistic(beta=beta)(errors / -2, REFERENCE, WON).sum(), errors)
    assert grad[0].tolist() == pytest.approx([slope, -slope], abs=6e-8)


def test_the_unscaled_ipo_of_the_diffusers_script_is_the_rescaled_one() -> None:
    """(-D - 1 / 2 tau)^2 = 3.24e-6 at tau 2500 is (u - 1/2)^2 / kappa^2 with kappa = tau."""
    tau = 2500.0
    u_form = float(squared(beta=2 * tau)(POLICY, REFERENCE, WON))
    assert (0.002 - 1 / (2 * tau)) ** 2 == pytest.approx(3.24e-6)
    assert u_form / tau**2 == pytest.approx((0.002 - 1 / (2 * tau)) ** 2)


def test_labels_scale_the_logit_of_logistic_and_weigh_outcomes_in_cross_entropy() -> None:
    label = torch.tensor([[0.8, 0.2]], dtype=torch.float64)
    u = torch.tensor(1.7, dtype=torch.float64)
    scaled = float(_at(logistic(beta=1.0), 1.7, label))
    assert scaled == pytest.approx(float(-torch.log(torch.sigmoid(0.6 * u))))
    weighed = float(_at(cross_entropy(beta=1.0), 1.7, label))
    p = torch.sigmoid(u)
    assert weighed == pytest.approx(float(-0.8 * p.log() - 0.2 * (1 - p).log()))


def test_smoothing_a_hard_label_is_the_soft_label() -> None:
    soft = torch.tensor([[0.9, 0.1]], dtype=torch.float64)
    for u in (-3.0, 0.0, 2.0):
        smoothed = _at(cross_entropy(beta=1.0, epsilon=0.1), u)
        assert torch.allclose(smoothed, _at(cross_entropy(beta=1.0), u, soft), atol=1e-15)


def test_robust_is_unbiased_under_flipped_labels() -> None:
    loss = robust(beta=1.0, epsilon=0.3)
    for u in (-4.0, -0.5, 0.0, 1.0, 6.0):
        noisy = 0.7 * _at(loss, u) + 0.3 * _at(loss, u, WON.flip(1))
        assert torch.allclose(noisy, _at(logistic(beta=1.0), u), atol=1e-14)


def test_reverse_kl_ignores_badly_wrong_pairs() -> None:
    policy = torch.tensor([[-60.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(exo(beta=1.0)(policy, None, WON).sum(), policy)
    assert slope.abs().max().item() < 1e-20


def test_likelihood_takes_single_likes_and_lists_and_reads_no_reference() -> None:
    loss = likelihood()
    one = torch.tensor([[-0.06]])
    assert loss(one, None, torch.ones(1, 1)).tolist() == pytest.approx([0.12])
    three = torch.tensor([[-0.1, -0.2, -0.3]])
    label = torch.tensor([[0.0, 1.0, 0.0]])
    assert loss(three, None, label).tolist() == pytest.approx([0.4])
    assert torch.equal(loss(three, three, label), loss(three, None, label))
    assert loss(three[:, :2], None, TIE.float()).tolist() == pytest.approx([0.3])


def test_log_ratio_without_a_reference_is_the_log_likelihood() -> None:
    assert torch.equal(log_ratio(POLICY, None), POLICY)
    assert torch.equal(log_ratio(POLICY, REFERENCE), POLICY - REFERENCE)


@pytest.mark.parametrize("k", [1, 3])
def test_a_pair_loss_refuses_anything_but_pairs(k: int) -> None:
    with pytest.raises(ConfigError, match=f"the data has {k}"):
        logistic(beta=1.0)(torch.zeros(2, k), None, torch.full((2, k), 1 / k))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: logistic(beta=0.0), "beta"),
        (lambda: hinge(beta=-1.0), "beta"),
        (lambda: robust(beta=1.0, epsilon=0.5), "epsilon"),
        (lambda: cross_entropy(beta=1.0, epsilon=-0.1), "epsilon"),
        (lambda: exo(beta=1.0, alpha=0.0), "alpha"),
        (lambda: exo(beta=1.0, alpha=0.5), "alpha"),
    ],
)
def test_impossible_settings_are_refused_by_name(make: Callable[[], PairLoss], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make()


def test_one_strength_in_four_conventions() -> None:
    strength = Strength.from_salesforce(5000.0)
    assert strength.kappa == 2500
    assert strength == Strength.from_hugging_face(2500.0)
    assert strength.paper(16384) == pytest.approx(0.1526, abs=5e-5)
    assert strength.paper(65536) == pytest.approx(0.0381, abs=5e-5)
    assert Strength.from_paper(strength.paper(65536), numel=65536) == strength
    assert strength.salesforce == 5000
    line = strength.header(16384)
    for part in ("kappa 2500", "beta 5000", "2500 in the Hugging Face", "0.1526"):
        assert part in line
