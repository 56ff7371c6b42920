"""Each paper's loss written again with loops and plain numbers, from the noise up."""

from collections.abc import Callable
from math import exp, log, sqrt
from typing import Any

import pytest
import torch

from diffpref.catalogue import build_objective
from diffpref.draws import Draws
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import Nets, PreferenceBatch

BETA = 30.0


def _abar(t: int) -> float:
    product = 1.0
    for i in range(t + 1):
        root = sqrt(0.00085) + (sqrt(0.012) - sqrt(0.00085)) * i / 999
        product *= 1 - root * root
    return product


def _mean_error(net: Any, x_0: torch.Tensor, noise: torch.Tensor, t: int, cond: Any) -> float:
    abar = _abar(t)
    x_t = sqrt(abar) * x_0 + sqrt(1 - abar) * noise
    with torch.no_grad():
        prediction = net(x_t[None], torch.tensor([t]), cond)[0]
    pairs = zip(prediction.flatten().tolist(), noise.flatten().tolist(), strict=True)
    squares = [(guess - truth) ** 2 for guess, truth in pairs]
    return sum(squares) / len(squares)


def _errors(nets: Nets, batch: PreferenceBatch) -> list[tuple[float, float, float, float]]:
    """Return (m_w, m_l, r_w, r_l) per prompt, one step and one noise for both images."""
    draws = Draws(seed=0, positions=batch.positions)
    steps = draws.integers("t", 0, 1000).tolist()
    noises = draws.normal("noise", tuple(batch.latents.shape[2:])).double()
    found = []
    for i, (t, noise) in enumerate(zip(steps, noises, strict=True)):
        cond = batch.cond.rows(slice(i, i + 1))
        winner = 0 if batch.score[i, 0] > batch.score[i, 1] else 1
        x_w, x_l = batch.latents[i, winner], batch.latents[i, 1 - winner]
        found.append(
            tuple(
                _mean_error(net, x, noise, t, cond)
                for net in (nets.policy, nets.reference)
                for x in (x_w, x_l)
            )
        )
    return found


def _sigmoid(u: float) -> float:
    return 1 / (1 + exp(-u))


def _reverse_kl(u: float) -> float:
    p = _sigmoid(u)
    return p * (log(p) - log(0.99)) + (1 - p) * (log(1 - p) - log(0.01))


HEADS: dict[str, Callable[[float], float]] = {
    "logistic": lambda u: -log(_sigmoid(u)),
    "hinge": lambda u: max(0.0, 1 - u),
    "squared": lambda u: (u - 0.5) ** 2,
    "cross_entropy": lambda u: -0.8 * log(_sigmoid(u)) - 0.2 * log(_sigmoid(-u)),
    "robust": lambda u: (-0.8 * log(_sigmoid(u)) + 0.2 * log(_sigmoid(-u))) / 0.6,
    "exo": _reverse_kl,
}
SETTINGS = {"cross_entropy": {"epsilon": 0.2}, "robust": {"epsilon": 0.2}, "exo": {"alpha": 0.01}}


@pytest.mark.parametrize("head", HEADS)
def test_diffusion_dpo_with_every_head_is_its_equation(
    head: str, kit: Toolkit, make_net: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    reference = make_net(3)
    nets, batch = Nets(make_net(4, near=reference, by=0.1), reference), make_batch(5)
    spec = {"kind": head, **SETTINGS.get(head, {})}
    objective = build_objective("diffusion_dpo", kit, {"beta": BETA}, {"loss": spec})
    loss = accumulate(objective, nets, batch, Draws(seed=0, positions=batch.positions))
    logits = [
        -BETA / 2 * ((m_w - r_w) - (m_l - r_l)) for m_w, m_l, r_w, r_l in _errors(nets, batch)
    ]
    assert max(map(abs, logits)) > 0.05
    assert loss.metrics["logit"].tolist() == pytest.approx(logits, rel=1e-10)
    expected = [HEADS[head](u) for u in logits]
    assert loss.metrics["loss"].tolist() == pytest.approx(expected, rel=1e-10)
    assert loss.value.item() == pytest.approx(sum(expected) / 5, rel=1e-10)


def test_health_is_what_its_names_say(
    kit: Toolkit, make_net: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    reference = make_net(3)
    nets, batch = Nets(make_net(4, near=reference, by=0.1), reference), make_batch(5)
    objective = build_objective("diffusion_dpo", kit, {"beta": BETA}, {})
    draws = Draws(seed=0, positions=batch.positions)
    metrics = accumulate(objective, nets, batch, draws).metrics
    errors = _errors(nets, batch)
    won = [(r_w - m_w) / 2 for m_w, _, r_w, _ in errors]
    lost = [(r_l - m_l) / 2 for _, m_l, _, r_l in errors]
    assert metrics["winner_drift"].tolist() == pytest.approx(won, rel=1e-9)
    assert metrics["loser_drift"].tolist() == pytest.approx(lost, rel=1e-9)
    margin = [w - x for w, x in zip(won, lost, strict=True)]
    assert metrics["margin"].tolist() == pytest.approx(margin, rel=1e-8)
    assert metrics["implicit_accuracy"].tolist() == [float(m > 0) for m in margin]
    assert {0.0, 1.0} == set(metrics["implicit_accuracy"].tolist())
    assert metrics["winner_error"].tolist() == pytest.approx([m_w for m_w, *_ in errors])
    assert metrics["loser_error"].tolist() == pytest.approx([m_l for _, m_l, *_ in errors])
    assert metrics["t"].tolist() == draws.integers("t", 0, 1000).tolist()


def test_sft_is_the_preferred_images_error(
    kit: Toolkit, make_net: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    nets, batch = Nets(make_net(3), make_net(4)), make_batch(5)
    objective = build_objective("sft", kit, {}, {})
    draws = Draws(seed=0, positions=batch.positions)
    for reference in (nets.reference, None):
        loss = accumulate(objective, nets._replace(reference=reference), batch, draws)
        expected = [m_w for m_w, *_ in _errors(nets, batch)]
        assert loss.metrics["loss"].tolist() == pytest.approx(expected, rel=1e-10)
        assert ("winner_drift" in loss.metrics) == (reference is not None)


@pytest.mark.parametrize("k", [1, 3])
def test_sft_learns_from_single_likes_and_from_lists(
    k: int, kit: Toolkit, make_net: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    net, batch = make_net(3), make_batch(2, k)
    objective = build_objective("sft", kit, {}, {})
    draws = Draws(seed=0, positions=batch.positions)
    loss = accumulate(objective, Nets(net, None), batch, draws)
    steps = draws.integers("t", 0, 1000).tolist()
    noise = draws.normal("noise", tuple(batch.latents.shape[2:])).double()
    expected = [
        _mean_error(
            net, batch.latents[i, i % k], noise[i], steps[i], batch.cond.rows(slice(i, i + 1))
        )
        for i in range(2)
    ]
    assert loss.value.item() == pytest.approx(sum(expected) / 2, rel=1e-10)
    assert ("margin" in loss.metrics) == (k > 1)
