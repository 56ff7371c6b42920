"""Every further method's loss from plain numbers: errors by loops, formulas by hand."""

from collections.abc import Callable
from math import exp, expm1, log, sqrt
from typing import Any

import pytest
import torch

from diffpref.catalogue import build_objective
from diffpref.draws import Draws
from diffpref.methods import METHODS
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import Nets, PreferenceBatch

ABAR = [1.0]
for i in range(1000):
    root = sqrt(0.00085) + (sqrt(0.012) - sqrt(0.00085)) * i / 999
    ABAR.append(ABAR[-1] * (1 - root * root))


def _sigmoid(u: float) -> float:
    return 1 / (1 + exp(-u))


def _softplus(u: float) -> float:
    """-log sigmoid(-u)"""
    return log(1 + exp(u))


def _residual(net: Any, batch: PreferenceBatch, i: int, j: int, t: int, noise: Any) -> list[float]:
    abar = ABAR[t + 1]
    x_t = sqrt(abar) * batch.latents[i, j] + sqrt(1 - abar) * noise
    with torch.no_grad():
        guess = net(x_t[None], torch.tensor([t]), batch.cond.rows(slice(i, i + 1)))[0]
    return [a - b for a, b in zip(guess.flatten().tolist(), noise.flatten().tolist(), strict=True)]


def _mean_square(values: list[float]) -> float:
    return sum(value * value for value in values) / len(values)


class Step:
    """Errors of policy (m) and reference (r) per prompt and image, and where they were taken."""

    def __init__(
        self, nets: Nets, batch: PreferenceBatch, steps: list[int], *, shared: bool = True
    ) -> None:
        draws, (b, k) = Draws(0, batch.positions), batch.score.shape
        shape = tuple(batch.latents.shape[2:])
        self.t = steps
        each = draws.normal("noise", shape, images=k).double()
        common = draws.normal("noise", shape).double()
        noise = [[common[i] if shared else each[i, j] for j in range(k)] for i in range(b)]
        self.R, self.S = (
            [
                [_residual(net, batch, i, j, steps[i], noise[i][j]) for j in range(k)]
                for i in range(b)
            ]
            for net in (nets.policy, nets.reference)
        )
        self.m, self.r = ([[_mean_square(v) for v in row] for row in R] for R in (self.R, self.S))
        self.score = batch.score.tolist()

    def pair(self, i: int) -> tuple[float, float, float, float]:
        w = 0 if self.score[i][0] > self.score[i][1] else 1
        return self.m[i][w], self.m[i][1 - w], self.r[i][w], self.r[i][1 - w]

    def u(self, i: int, beta: float) -> float:
        m_w, m_l, r_w, r_l = self.pair(i)
        return -beta / 2 * ((m_w - r_w) - (m_l - r_l))


def _mapo(step: Step, i: int) -> float:
    m_w, m_l, *_ = step.pair(i)
    phi = [0.05 * m / expm1(0.05 * m) for m in (m_w, m_l)]
    return m_w + 0.1 * _softplus(-1000 * (phi[0] - phi[1]))


def _alpha(step: Step, i: int) -> float:
    p, a = _sigmoid(step.u(i, 30.0)), 0.5
    return (p**a - (1 - a) - a * p) / (a * (a - 1))


def _linear(step: Step, i: int) -> float:
    m_w, m_l, r_w, r_l = step.pair(i)
    weight = min(0.9, max(0.1, 0.2 * 2.0 * ((m_w - r_w) - (m_l - r_l)) + 0.5))
    return weight * (m_w - m_l)


def _dspo(step: Step, i: int) -> float:
    w = 0 if step.score[i][0] > step.score[i][1] else 1
    doubt = 1 - _sigmoid(step.u(i, 0.5))
    ours, theirs = step.R[i][w], step.S[i][w]
    pairs = zip(ours, theirs, strict=True)
    return _mean_square([a - 0.5 * doubt * (a - b) for a, b in pairs])


def _switch(step: Step, i: int) -> float:
    w = 0 if step.score[i][0] > step.score[i][1] else 1
    doubt = 1 - _sigmoid(step.u(i, 30.0))
    apart = _mean_square([a - b for a, b in zip(step.R[i][w], step.S[i][w], strict=True)])
    return doubt**2 * (apart if apart >= 0.1 else 1.0)


def _exo(step: Step, i: int) -> float:
    p = _sigmoid(step.u(i, 30.0))
    return p * log(p / 0.95) + (1 - p) * log((1 - p) / 0.05)


def _cpo(step: Step, i: int) -> float:
    m_w, m_l, *_ = step.pair(i)
    return _softplus(15 * (m_w - m_l)) + 0.3 * m_w


def _simpo(step: Step, i: int) -> float:
    m_w, m_l, *_ = step.pair(i)
    return _softplus(15 * (m_w - m_l) + 0.7)


def _orpo(step: Step, i: int) -> float:
    m_w, m_l, *_ = step.pair(i)
    return m_w + 0.2 * _softplus(m_w - m_l)


def _odpo(step: Step, i: int) -> float:
    return _softplus(-(step.u(i, 30.0) - 0.4 * abs(step.score[i][0] - step.score[i][1])))


def _weighted(step: Step, i: int) -> float:
    weights = [exp(s / 0.5) for s in step.score[i]]
    pairs = zip(weights, step.m[i], strict=True)
    return sum(w * m for w, m in pairs) / sum(weights)


CASES: dict[str, tuple[str, dict[str, Any], Callable[[Step, int], float]]] = {
    "mapo": ("mapo", {"scale": 0.05}, _mapo),
    "alpha_dpo": ("alpha_dpo", {"beta": 30.0, "alpha": 0.5}, _alpha),
    "linear_dpo": ("linear_dpo", {"beta": 2.0, "floor": 0.1}, _linear),
    "dspo score": ("dspo", {"beta": 0.5}, _dspo),
    "dspo switch": ("dspo", {"beta": 30.0, "branch": "switch"}, _switch),
    "dmpo": ("dmpo", {"beta": 30.0, "alpha": 0.05}, _exo),
    "sdpo": ("sdpo", {"beta": 30.0}, lambda step, i: _softplus(-step.u(i, 30.0))),
    "cpo": ("cpo", {"beta": 30.0, "weight": 0.3}, _cpo),
    "simpo": ("simpo", {"beta": 30.0, "gamma": 0.7}, _simpo),
    "orpo": ("orpo", {"weight": 0.2}, _orpo),
    "odpo": ("odpo", {"beta": 30.0, "scale": 0.4}, _odpo),
    "weighted_sft": ("weighted_sft", {"temperature": 0.5}, _weighted),
}


@pytest.fixture
def nets(make_net: Callable[..., Any]) -> Nets:
    reference = make_net(3)
    return Nets(make_net(4, near=reference, by=0.3), reference)


@pytest.mark.parametrize("case", CASES)
def test_a_loss_is_its_equation(
    case: str, kit: Toolkit, nets: Nets, make_batch: Callable[..., Any]
) -> None:
    method, settings, formula = CASES[case]
    batch = make_batch(4)
    draws = Draws(0, batch.positions)
    free = METHODS[method].reference == "refused"
    given = nets._replace(reference=None) if free else nets
    loss = accumulate(build_objective(method, kit, settings, {}), given, batch, draws)
    step = Step(nets, batch, draws.integers("t", 0, 1000).tolist())
    expected = [formula(step, i) for i in range(4)]
    assert loss.metrics["loss"].tolist() == pytest.approx(expected, rel=1e-9)
    assert loss.value.item() == pytest.approx(sum(expected) / 4, rel=1e-9)


def test_rethinking_dpo_draws_noisy_steps_and_weighs_them(
    kit: Toolkit, nets: Nets, make_batch: Callable[..., Any]
) -> None:
    batch = make_batch(4)
    objective = build_objective("rethinking_dpo", kit, {"beta": 30.0}, {})
    loss = accumulate(objective, nets, batch, Draws(0, batch.positions))
    steps = [int(t) for t in loss.metrics["t"].tolist()]
    step = Step(nets, batch, steps)
    ratio = [sqrt((1 - a) / a) for a in ABAR[1:]]
    low, high = min(ratio), max(ratio)
    expected = [
        _softplus(-(1 + (ratio[t] - low) / (high - low)) * step.u(i, 30.0))
        for i, t in enumerate(steps)
    ]
    assert loss.metrics["loss"].tolist() == pytest.approx(expected, rel=1e-9)


def _graded(make_batch: Callable[..., Any]) -> PreferenceBatch:
    from dataclasses import replace

    batch = make_batch(3, 4)
    grades = torch.tensor([[0.1, 0.9, 0.4, 0.4], [3.0, 2.0, 1.0, 0.0], [0.0, 0.0, 5.0, 7.0]])
    return replace(batch, score=grades)


def _phi(scores: list[float]) -> list[float]:
    others = len(scores) - 1
    return [
        sum((a > b) + 0.5 * (a == b) for j, b in enumerate(scores) if j != i) / others
        for i, a in enumerate(scores)
    ]


def test_rank_dpo(kit: Toolkit, nets: Nets, make_batch: Callable[..., Any]) -> None:
    batch = _graded(make_batch)
    draws = Draws(0, batch.positions)
    objective = build_objective("rank_dpo", kit, {"beta": 30.0}, {})
    loss = accumulate(objective, nets, batch, draws, rows_per_pass=1)
    step = Step(nets, batch, draws.integers("t", 0, 1000).tolist(), shared=False)
    for n in range(3):
        s = [m - r for m, r in zip(step.m[n], step.r[n], strict=True)]
        phi = _phi(step.score[n])
        rank = [1 + sum(b > a for b in phi) + (sum(b == a for b in phi) - 1) / 2 for a in phi]
        total = 0.0
        for i in range(4):
            for j in range(4):
                if phi[i] > phi[j]:
                    gain = abs(2 ** phi[i] - 2 ** phi[j])
                    discount = abs(1 / log(1 + rank[i]) - 1 / log(1 + rank[j]))
                    total += gain * discount * _softplus(15 * (s[i] - s[j]))
        assert loss.metrics["loss"][n].item() == pytest.approx(total, rel=1e-9)


def test_plackett_luce(kit: Toolkit, nets: Nets, make_batch: Callable[..., Any]) -> None:
    batch = _graded(make_batch)
    draws = Draws(0, batch.positions)
    objective = build_objective("plackett_luce", kit, {"beta": 30.0}, {})
    loss = accumulate(objective, nets, batch, draws, rows_per_pass=1)
    step = Step(nets, batch, draws.integers("t", 0, 1000).tolist())
    for n in range(3):
        strength = [exp(-15 * (m - r)) for m, r in zip(step.m[n], step.r[n], strict=True)]
        score = step.score[n]
        total = sum(
            log(sum(strength[j] for j in range(4) if score[j] <= score[i]) / strength[i])
            for i in range(4)
        )
        assert loss.metrics["loss"][n].item() == pytest.approx(total, rel=1e-9)


def test_with_two_images_rank_dpo_is_a_multiple_of_dpo_and_plackett_luce_is_dpo(
    kit: Toolkit, nets: Nets, make_batch: Callable[..., Any]
) -> None:
    batch = make_batch(4)
    draws = Draws(0, batch.positions)
    losses = {
        name: accumulate(build_objective(name, kit, settings, {}), nets, batch, draws).metrics[
            "loss"
        ]
        for name, settings in {
            "diffusion_dpo": {"beta": 30.0},
            "rank_dpo": {"beta": 30.0, "shared_noise": True},
            "plackett_luce": {"beta": 30.0},
        }.items()
    }
    factor = 1 / log(2) - 1 / log(3)
    assert torch.allclose(losses["rank_dpo"], factor * losses["diffusion_dpo"], rtol=1e-12)
    assert torch.allclose(losses["plackett_luce"], losses["diffusion_dpo"], rtol=1e-12)


@pytest.mark.parametrize("baseline", ["mean", "classes"])
@pytest.mark.parametrize("utility", ["kahneman_tversky", "loss_averse", "risk_seeking"])
def test_kto_over_micro_batches_is_kto_over_the_batch(
    utility: str, baseline: str, kit: Toolkit, nets: Nets, make_batch: Callable[..., Any]
) -> None:
    from dataclasses import replace

    batch = replace(make_batch(5, 1), score=torch.tensor([[1.0], [0.0], [1.0], [1.0], [0.0]]))
    draws = Draws(0, batch.positions)
    settings = {"beta": 30.0, "utility": utility, "baseline": baseline, "desirable": 2.0}
    objective = build_objective("diffusion_kto", kit, settings, {})
    loss = accumulate(objective, nets, batch, draws, rows_per_pass=2)
    step = Step(nets, batch, draws.integers("t", 0, 1000).tolist())
    gain = [r[0] - m[0] for m, r in zip(step.m, step.r, strict=True)]
    liked = [score[0] > 0 for score in step.score]
    zero = max(0.0, sum(gain) / 5)
    if baseline == "classes":
        sides = [
            [g for g, y in zip(gain, liked, strict=True) if y is side] for side in (True, False)
        ]
        zero = sum(sum(side) / len(side) for side in sides) / 2
    shape = {
        "kahneman_tversky": lambda v: 1 - _sigmoid(v),
        "loss_averse": lambda v: -log(_sigmoid(v)),
        "risk_seeking": lambda v: log(_sigmoid(-v)),
    }[utility]
    expected = [
        (2.0 if y else 1.0) * shape((15 if y else -15) * (g - zero))
        for g, y in zip(gain, liked, strict=True)
    ]
    assert loss.metrics["loss"].tolist() == pytest.approx(expected, rel=1e-9)


def test_beta_dpo_follows_the_margins_it_has_seen(
    kit: Toolkit, nets: Nets, make_batch: Callable[..., Any]
) -> None:
    """First a step at rest, then what the running values make of the next one."""
    batch = make_batch(5)
    draws = Draws(0, batch.positions)
    settings = {"beta": 30.0, "strength": 0.6, "keep": 0.8, "momentum": 0.9, "bins": 2}
    objective: Any = build_objective("beta_dpo", kit, settings, {})
    steps = draws.integers("t", 0, 1000).tolist()
    step = Step(nets, batch, steps)
    u = [step.u(i, 30.0) for i in range(5)]
    mean, spread, seen = [0.0, 0.0], [1.0, 1.0], [False, False]
    for _ in range(3):
        loss = accumulate(objective, nets, batch, draws, rows_per_pass=1)
        place = [t * 2 // 1000 for t in steps]
        away = [abs(v - mean[p]) / spread[p] for v, p in zip(u, place, strict=True)]
        kept = sorted(range(5), key=lambda i, away=away: away[i])[:4]
        gap = sum(u[i] - mean[place[i]] for i in kept) / 4
        factor = max(1e-3, 1 + 0.6 * gap)
        expected = [_softplus(-factor * v) for v in u]
        assert loss.metrics["loss"].tolist() == pytest.approx(expected, rel=1e-8)
        whole = sum(expected[i] for i in kept) / 4
        assert loss.value.item() == pytest.approx(whole, rel=1e-8)
        objective.learn(loss.metrics)
        for bin_ in (0, 1):
            here = [v for v, p in zip(u, place, strict=True) if p == bin_]
            if here:
                share = 0.1 if seen[bin_] else 1.0
                off = sqrt(sum((v - mean[bin_]) ** 2 for v in here) / len(here))
                mean[bin_] += share * (sum(here) / len(here) - mean[bin_])
                spread[bin_] += share * (off - spread[bin_])
                seen[bin_] = True
