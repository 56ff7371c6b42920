"""Every online method's loss from plain numbers: densities and errors by loops, by hand."""

from collections.abc import Callable
from dataclasses import replace
from math import exp, log, pi, sqrt
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor

from diffpref.catalogue import build_objective
from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.schedule import NoiseSchedule
from diffpref.steps import StepPairs, StepPlan, Transitions
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import Nets, PreferenceBatch
from tests.methods import windows
from tests.methods.test_more_equations import ABAR, Step, _mean_square, _softplus

Make = Callable[..., Any]


class Move:
    """The numbers of one sampling step with eta 1."""

    def __init__(self, t: int, s: int) -> None:
        now, then = ABAR[t + 1], ABAR[s + 1]
        self.std = sqrt((1 - then) / (1 - now)) * sqrt(1 - now / then)
        self.signal = sqrt(then / now)
        self.b = sqrt(1 - then - self.std**2) - sqrt(then * (1 - now) / now)

    def mean(self, x_t: list[float], eps: list[float]) -> list[float]:
        return [self.signal * x + self.b * e for x, e in zip(x_t, eps, strict=True)]


def _flat(tensor: Tensor) -> list[float]:
    return tensor.detach().double().flatten().tolist()


def _density(x: list[float], mean: list[float], std: float) -> float:
    """Return log N(x; mean, std^2) per element."""
    terms = [
        -((a - m) ** 2) / (2 * std**2) - log(std * sqrt(2 * pi))
        for a, m in zip(x, mean, strict=True)
    ]
    return sum(terms) / len(terms)


class Row:
    """One state: what both networks predict there, and densities of what was sampled."""

    def __init__(self, nets: Nets, window: Any, i: int) -> None:
        state = window.state.rows(slice(i, i + 1))
        self.t = int(state.t)
        self.move = Move(int(state.t), int(state.s))
        self.x_t = _flat(state.x_t)
        with torch.no_grad():
            self.ours, self.theirs = (
                _flat(net(state.x_t, state.t, state.cond)) for net in nets[:2] if net is not None
            )

    def ratio(self, x: list[float]) -> float:
        ours, theirs = (
            _density(x, self.move.mean(self.x_t, eps), self.move.std)
            for eps in (self.ours, self.theirs)
        )
        return ours - theirs

    @property
    def kl(self) -> float:
        apart = [a - b for a, b in zip(self.ours, self.theirs, strict=True)]
        return (self.move.b / self.move.std) ** 2 / 2 * _mean_square(apart)

    def inner(self, dz: list[float]) -> float:
        terms = [z * (a - b) for z, a, b in zip(dz, self.ours, self.theirs, strict=True)]
        return sum(terms) / len(terms)


def _candidates(row: Row, window: StepPairs, i: int) -> tuple[list[float], list[float]]:
    assert window.mid is not None
    middle, dz = _flat(window.mid[i]), _flat(window.dz[i])
    half = row.move.std / 2
    won = [m + half * z for m, z in zip(middle, dz, strict=True)]
    lost = [m - half * z for m, z in zip(middle, dz, strict=True)]
    return won, lost


def _held(ratio: float) -> float:
    return log(min(1.1, max(0.9, exp(ratio))))


def _by_density(row: Row, window: StepPairs, i: int) -> float:
    won, lost = _candidates(row, window, i)
    return row.ratio(won) - row.ratio(lost)


def _clamped(row: Row, window: StepPairs, i: int) -> float:
    won, lost = _candidates(row, window, i)
    return _held(row.ratio(won)) - _held(row.ratio(lost))


def _by_median(row: Row, window: StepPairs, i: int) -> float:
    gains = [Move(t, s).b / Move(t, s).std for t, s in window.plan.levels]
    return median(gains) * row.inner(_flat(window.dz[i]))


def _by_targets(row: Row, window: StepPairs, i: int) -> float:
    """GradSPO as its code has it: squared errors to two targets around any prediction."""
    dz, strength = _flat(window.dz[i]), 0.5 * sqrt(1 - ABAR[row.t + 1])
    around = [0.1 * k for k in range(len(dz))]
    best = [e - strength * z / 2 for e, z in zip(around, dz, strict=True)]
    worst = [e + strength * z / 2 for e, z in zip(around, dz, strict=True)]

    def gain(target: list[float]) -> float:
        ours, theirs = (
            _mean_square([a - b for a, b in zip(target, eps, strict=True)])
            for eps in (row.ours, row.theirs)
        )
        return ours - theirs

    return -(gain(best) - gain(worst))


STEPS: dict[str, tuple[str, dict[str, Any], Callable[[Row, StepPairs, int], float]]] = {
    "tailorpo exact": ("tailorpo", {"weight": "exact"}, _by_density),
    "tailorpo flat": ("tailorpo", {}, _by_median),
    "spo": ("spo", {}, _clamped),
    "spo unclamped": ("spo", {"clamp": None}, _by_density),
    "gradspo": ("gradspo", {}, _by_targets),
    "lpo": ("lpo", {}, _clamped),
}


@pytest.fixture
def nets(make_net: Make) -> Nets:
    reference = make_net(3)
    return Nets(make_net(4, near=reference, by=0.1), reference)


@pytest.mark.parametrize("kl", [0.0, 0.7])
@pytest.mark.parametrize("case", STEPS)
def test_the_loss_of_a_pair_of_candidates_is_its_equation(
    case: str,
    kl: float,
    kit: Toolkit,
    nets: Nets,
    make_batch: Make,
    schedule: NoiseSchedule,
    plan: StepPlan,
) -> None:
    method, settings, margin = STEPS[case]
    window = windows.step_pairs(make_batch(4), schedule, plan)
    objective = build_objective(method, kit, {**settings, "beta": 7.0, "kl": kl}, {})
    loss = accumulate(objective, nets, window, Draws(0, window.positions))
    rows = [Row(nets, window, i) for i in range(4)]
    margins = [margin(row, window, i) for i, row in enumerate(rows)]
    expected = [_softplus(-7.0 * m) + kl * row.kl for m, row in zip(margins, rows, strict=True)]
    assert loss.metrics["margin"].tolist() == pytest.approx(margins, rel=1e-8, abs=1e-13)
    assert loss.metrics["loss"].tolist() == pytest.approx(expected, rel=1e-9)
    assert loss.value.item() == pytest.approx(sum(expected) / 4, rel=1e-9)
    assert loss.metrics["step_kl"].tolist() == pytest.approx([row.kl for row in rows], rel=1e-9)
    if margin is _clamped:
        assert 0 < loss.metrics["clamped"].mean() < 1


@pytest.mark.parametrize("clamp", [0.1, None])
def test_d3po(
    clamp: float | None,
    kit: Toolkit,
    nets: Nets,
    make_batch: Make,
    schedule: NoiseSchedule,
    plan: StepPlan,
) -> None:
    window = windows.transitions(make_batch(4), schedule, plan, nets.policy, graded=False)
    objective = build_objective("d3po", kit, {"beta": 7.0, "kl": 0.7, "clamp": clamp}, {})
    loss = accumulate(objective, nets, window, Draws(0, window.positions), rows_per_pass=3)
    for i in range(4):
        rows = [Row(nets, window, 2 * i + j) for j in range(2)]
        ratios = [row.ratio(_flat(window.x_s[2 * i + j])) for j, row in enumerate(rows)]
        better = 0 if window.score[i, 0] > window.score[i, 1] else 1
        held = [_held(r) if clamp else r for r in ratios]
        h = 7.0 * (held[better] - held[1 - better])
        kl = (rows[0].kl + rows[1].kl) / 2
        assert loss.metrics["logit"][i].item() == pytest.approx(h, rel=1e-8, abs=1e-12)
        assert loss.metrics["loss"][i].item() == pytest.approx(_softplus(-h) + 0.7 * kl, rel=1e-9)


@pytest.mark.parametrize("method", ["ddpo", "grpo"])
def test_the_clipped_surrogate(
    method: str,
    kit: Toolkit,
    nets: Nets,
    make_net: Make,
    make_batch: Make,
    schedule: NoiseSchedule,
    plan: StepPlan,
) -> None:
    old = make_net(6, near=nets.policy, by=0.05)
    window = windows.transitions(make_batch(8), schedule, plan, old, graded=True)
    kl = 0.0 if method == "ddpo" else 0.3
    objective = build_objective(method, kit, {"range": 0.02, "kl": kl}, {})
    given = nets._replace(reference=None) if method == "ddpo" else nets
    loss = accumulate(objective, given, window, Draws(0, window.positions), rows_per_pass=3)
    expected: list[float] = []
    for i in range(8):
        row, x_s = Row(nets, window, i), _flat(window.x_s[i])
        ours = row.move.mean(row.x_t, row.ours)
        log_rho = _density(x_s, ours, row.move.std) - _density(
            x_s, _flat(window.mean[i]), row.move.std
        )
        rho, a = exp(log_rho), window.score[i].item()
        value = -min(rho * a, min(1.02, max(0.98, rho)) * a)
        expected.append(value + kl * row.kl)
        assert loss.metrics["log_ratio"][i].item() == pytest.approx(log_rho, rel=1e-7, abs=1e-13)
    assert loss.metrics["loss"].tolist() == pytest.approx(expected, rel=1e-9)
    assert 0 < loss.metrics["clamped"].mean() < 1


def test_a_step_kl_without_a_reference_is_refused_with_what_to_do(
    kit: Toolkit, nets: Nets, make_batch: Make, schedule: NoiseSchedule, plan: StepPlan
) -> None:
    graded = windows.transitions(make_batch(2), schedule, plan, nets.policy, graded=True)
    pairs = windows.step_pairs(make_batch(2), schedule, plan)
    for method, window in (("grpo", graded), ("tailorpo", pairs), ("nft", make_batch(2))):
        objective = build_objective(method, kit, {}, {})
        with pytest.raises(ConfigError, match="adapters_off"):
            accumulate(objective, nets._replace(reference=None), window, Draws(0, window.positions))


def _graded(make_batch: Make) -> PreferenceBatch:
    batch = make_batch(3, 4)
    grades = [[0.1, 0.9, 0.4, 0.4], [3.0, 2.0, 1.0, -40.0], [0.5, 0.5, 0.5, 0.5]]
    return replace(batch, score=torch.tensor(grades))


def _shares(scores: list[float], most: float) -> list[float]:
    mean = sum(scores) / len(scores)
    std = sqrt(sum((s - mean) ** 2 for s in scores) / len(scores))
    return [0.5 + min(most, max(-most, (s - mean) / (std + 1e-4))) / (2 * most) for s in scores]


def test_nft(kit: Toolkit, nets: Nets, make_net: Make, make_batch: Make) -> None:
    batch, old = _graded(make_batch), make_net(7)
    draws = Draws(0, batch.positions)
    settings = {"beta": 0.4, "clip": 1.5, "kl": 0.3}
    objective = build_objective("nft", kit, settings, {})
    loss = accumulate(objective, nets._replace(old=old), batch, draws, rows_per_pass=5)
    steps = draws.integers("t", 0, 1000).tolist()
    ours = Step(nets, batch, steps, shared=False)
    before = Step(Nets(old, nets.reference), batch, steps, shared=False)
    for i in range(3):
        total = 0.0
        for j, r in enumerate(_shares(batch.score[i].tolist(), 1.5)):
            # Residuals mix as predictions do, since the target is the same.
            new, was, ref = ours.R[i][j], before.R[i][j], ours.S[i][j]
            up = [0.4 * a + 0.6 * b for a, b in zip(new, was, strict=True)]
            down = [1.4 * b - 0.4 * a for a, b in zip(new, was, strict=True)]
            near, far = (_mean_square(e) / (sum(abs(v) for v in e) / len(e)) for e in (up, down))
            drift = _mean_square([a - b for a, b in zip(new, ref, strict=True)])
            total += 1.5 / 0.4 * (r * near + (1 - r) * far) + 0.3 * drift
        assert loss.metrics["loss"][i].item() == pytest.approx(total / 4, rel=1e-8)


def test_the_gradient_of_nft_at_the_old_policy_is_that_of_errors_weighed_by_2r_minus_1(
    kit: Toolkit, make_net: Make, make_batch: Make
) -> None:
    batch, policy = _graded(make_batch), make_net(4)
    draws = Draws(0, batch.positions)
    objective = build_objective("nft", kit, {"beta": 0.4, "kl": 0.0}, {})
    for old in (make_net(4), None):
        policy.zero_grad()
        accumulate(objective, Nets(policy, None, old), batch, draws)
        found = [parameter.grad.clone() for parameter in policy.parameters()]
        policy.zero_grad()
        point = objective.draw(Nets(policy, None), batch, draws)
        noised = point.noised
        error = (policy(noised.x_t, noised.t, noised.cond) - noised.noise).flatten(1)
        shares = [_shares(row, 5.0) for row in batch.score.tolist()]
        r = torch.tensor(shares, dtype=torch.float64).flatten()
        scale = 5.0 / error.detach().abs().mean(dim=1)
        (((2 * r - 1) * scale * error.square().mean(dim=1)).mean()).backward()
        for one, parameter in zip(found, policy.parameters(), strict=True):
            assert torch.allclose(one, parameter.grad, rtol=1e-6, atol=1e-9)


def test_alignprop_begins_between_two_shares_of_the_steps(kit: Toolkit) -> None:
    draws = Draws(0, torch.arange(200))
    cut = build_objective("alignprop", kit, {}, {}).cut(draws, 50)
    assert (cut.min(), cut.max()) == (37, 46)
    assert set(build_objective("refl", kit, {}, {}).cut(draws, 40).tolist()) == set(range(30, 40))
    assert build_objective("draft", kit, {"steps": 2}, {}).cut(draws, 5).tolist() == [3] * 200
    assert build_objective("alignprop", kit, {}, {}).cut(draws, 1).tolist() == [0] * 200


def _pair_of(window: StepPairs, i: int) -> StepPairs:
    return windows.one(window, i)


def test_one_update_raises_the_pairs_logit_and_moves_the_clean_image_to_the_winner(
    kit: Toolkit, make_net: Make, make_batch: Make, schedule: NoiseSchedule, plan: StepPlan
) -> None:
    """The sign test: b is negative, and whoever loses that sign learns from losers."""
    window = windows.step_pairs(make_batch(4), schedule, plan)
    for method in ("tailorpo", "spo", "gradspo", "lpo"):
        objective = build_objective(method, kit, {"beta": 10.0}, {})
        for i in range(4):
            pair, nets = _pair_of(window, i), Nets(make_net(1), make_net(1))
            state, policy = pair.state, make_net(1)
            loss = accumulate(
                objective, nets._replace(policy=policy), pair, Draws(0, pair.positions)
            )
            assert loss.metrics["logit"].item() == 0
            with torch.no_grad():
                before = schedule.clean(state.x_t, policy(state.x_t, state.t, state.cond), state.t)
                for parameter in policy.parameters():
                    parameter.sub_(1e-5 * parameter.grad)
                after = schedule.clean(state.x_t, policy(state.x_t, state.t, state.cond), state.t)
                point = objective.draw(nets, pair, Draws(0, pair.positions))
                again = objective.compare(
                    objective.measure(policy, point), objective.measure(nets.policy, point), point
                )
            assert again.metrics["logit"].item() > 0
            assert ((after - before) * pair.dz).sum() > 0


def test_swapped_candidates_change_the_sign_of_the_logit_exactly(
    kit: Toolkit, nets: Nets, make_batch: Make, schedule: NoiseSchedule, plan: StepPlan
) -> None:
    window = windows.step_pairs(make_batch(4), schedule, plan)
    for method in ("tailorpo", "spo", "gradspo", "lpo"):
        objective = build_objective(method, kit, {}, {})
        one, other = (
            accumulate(objective, nets, each, Draws(0, window.positions)).metrics["logit"]
            for each in (window, replace(window, dz=-window.dz))
        )
        assert torch.equal(one, -other)


def _permuted(window: Any, order: Tensor) -> Any:
    pieces = [windows.one(window, int(i)) for i in order]

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(piece, name) for piece in pieces])

    state = replace(
        window.state,
        **{
            name: torch.cat([getattr(piece.state, name) for piece in pieces])
            for name in ("x_t", "t", "s")
        },
        cond=replace(
            window.state.cond, text=torch.cat([piece.state.cond.text for piece in pieces])
        ),
    )
    names = ("dz", "mid", "gap") if isinstance(window, StepPairs) else ("x_s", "mean", "score")
    return replace(
        window, state=state, positions=joined("positions"), **{n: joined(n) for n in names}
    )


def test_the_order_of_the_buffer_does_not_change_the_gradient(
    kit: Toolkit, nets: Nets, make_batch: Make, schedule: NoiseSchedule, plan: StepPlan
) -> None:
    order = torch.tensor([2, 0, 3, 1])
    pairs = windows.step_pairs(make_batch(4), schedule, plan)
    walks = windows.transitions(make_batch(4), schedule, plan, nets.policy, graded=False)
    policy: Any = nets.policy
    for method, window in (("tailorpo", pairs), ("spo", pairs), ("d3po", walks)):
        objective, found = build_objective(method, kit, {}, {}), list[list[Tensor]]()
        for each in (window, _permuted(window, order)):
            policy.zero_grad()
            accumulate(objective, nets, each, Draws(0, each.positions), rows_per_pass=2)
            found.append([parameter.grad.clone() for parameter in policy.parameters()])
        for one, other in zip(*found, strict=True):
            assert torch.allclose(one, other, rtol=1e-10, atol=1e-14)


def test_the_reference_stays_as_it_was_over_updates(
    kit: Toolkit, make_net: Make, make_batch: Make, schedule: NoiseSchedule, plan: StepPlan
) -> None:
    policy, reference = make_net(1), make_net(1)
    window = windows.step_pairs(make_batch(4), schedule, plan)
    objective = build_objective("tailorpo", kit, {}, {})
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    start = [parameter.clone() for parameter in reference.parameters()]
    values: list[float] = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = accumulate(objective, Nets(policy, reference), window, Draws(0, window.positions))
        values.append(loss.value.item())
        optimizer.step()
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(log(2))
    for parameter, was in zip(reference.parameters(), start, strict=True):
        assert parameter.grad is None
        assert torch.equal(parameter, was)


def test_one_forward_per_pair_gives_the_gradient_of_two(
    kit: Toolkit, nets: Nets, make_batch: Make, schedule: NoiseSchedule, plan: StepPlan
) -> None:
    """The closed form against both candidates run through the network, as released code does."""
    window = windows.step_pairs(make_batch(4), schedule, plan)
    assert window.mid is not None
    objective = build_objective("tailorpo", kit, {"weight": "exact", "kl": 0.0, "beta": 5.0}, {})
    policy, reference, state = nets.policy, nets.reference, window.state
    assert isinstance(policy, torch.nn.Module)
    assert reference is not None
    policy.zero_grad()
    accumulate(objective, nets, window, Draws(0, window.positions))
    once = [parameter.grad.clone() for parameter in policy.parameters()]
    policy.zero_grad()
    move = schedule.transition(state.t, state.s, eta=1.0)
    std, sides = move.std.view(-1, 1, 1, 1), list[Tensor]()
    for sign in (0.5, -0.5):
        x_s = window.mid + sign * std * window.dz
        ratio: list[Tensor] = []
        for net in (policy, reference):
            mean = move.signal.view(-1, 1, 1, 1) * state.x_t + move.noise.view(-1, 1, 1, 1) * net(
                state.x_t, state.t, state.cond
            )
            ratio.append(-((x_s - mean) / std).square().flatten(1).mean(dim=1) / 2)
        sides.append(ratio[0] - ratio[1].detach())
    (-torch.nn.functional.logsigmoid(5.0 * (sides[0] - sides[1])).mean()).backward()
    for one, parameter in zip(once, policy.parameters(), strict=True):
        assert torch.allclose(one, parameter.grad, rtol=1e-8, atol=1e-13)


def test_windows_of_steps_are_gathered_without_what_measuring_reads(
    make_batch: Make, nets: Nets, schedule: NoiseSchedule, plan: StepPlan
) -> None:
    def twice(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, tensor])

    pairs = windows.step_pairs(make_batch(3), schedule, plan).gathered(twice)
    walks = windows.transitions(make_batch(3), schedule, plan, nets.policy, graded=False).gathered(
        twice
    )
    assert isinstance(walks, Transitions)
    assert (len(pairs), len(walks)) == (6, 12)
    assert pairs.t.tolist() == [801, 601, 401] * 2
    assert pairs.state.x_t.device.type == walks.state.x_t.device.type == "meta"
    assert pairs.score.shape == (6, 1)
    assert walks.score.shape == (6, 2)
