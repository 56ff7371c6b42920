"""PPD against its equation, and with the parts it must go with, on a denoiser that hears users."""

from collections.abc import Callable
from dataclasses import replace
from math import exp, log, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffpref import references
from diffpref.catalogue import build_objective, find_method
from diffpref.draws import Draws
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import Conditioning, Nets, PreferenceBatch

BETA, WIDTH = 30.0, 3


class Hearing(nn.Module):
    """A toy denoiser plus gate x a map of the user's vector that also depends on x_t."""

    def __init__(self, base: Any, seed: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.user = nn.Linear(WIDTH, 2, dtype=torch.float64)
        rng = torch.Generator().manual_seed(seed)
        for value in self.user.parameters():
            value.data = 0.3 * torch.randn(value.shape, generator=rng, dtype=torch.float64)

    def forward(self, x_t: Tensor, t: Tensor, cond: Conditioning, /) -> Tensor:
        base = self.base(x_t, t, cond)
        if cond.user is None:
            return base
        gate = torch.ones(len(x_t)) if cond.gate is None else cond.gate
        heard = self.user(cond.user[:, 0].to(x_t))[:, :, None, None] * torch.tanh(x_t)
        return base + gate.to(x_t)[:, None, None, None] * heard


@pytest.fixture
def policy(make_net: Callable[..., Any]) -> Hearing:
    return Hearing(make_net(3), 5)


@pytest.fixture
def nets(policy: Hearing) -> Nets:
    return Nets(policy, references.gate_off(policy).net)


def with_users(batch: PreferenceBatch, gate: list[float] | None = None) -> PreferenceBatch:
    b = len(batch)
    user = torch.randn(b, 1, WIDTH, generator=torch.Generator().manual_seed(8))
    told = torch.ones(b) if gate is None else torch.tensor(gate)
    return replace(batch, cond=replace(batch.cond, user=user, gate=told))


def _abar(t: int) -> float:
    product = 1.0
    for i in range(t + 1):
        root = sqrt(0.00085) + (sqrt(0.012) - sqrt(0.00085)) * i / 999
        product *= 1 - root * root
    return product


def _error(policy: Hearing, x_0: Tensor, noise: Tensor, t: int, cond: Any, heard: float) -> float:
    """Return the mean squared error of one image, the user heard with this gate."""
    abar = _abar(t)
    x_t = sqrt(abar) * x_0 + sqrt(1 - abar) * noise
    with torch.no_grad():
        plain = policy.base(x_t[None], torch.tensor([t]), cond)[0]
        weight, bias = policy.user.weight, policy.user.bias
        squares = []
        for c in range(x_t.shape[0]):
            said = sum(float(weight[c, i]) * float(cond.user[0, 0, i]) for i in range(WIDTH))
            guess = plain[c] + heard * (said + float(bias[c])) * torch.tanh(x_t[c])
            squares += (guess - noise[c]).square().flatten().tolist()
    return sum(squares) / len(squares)


def test_ppd_is_its_equation(
    kit: Toolkit, policy: Hearing, nets: Nets, make_batch: Callable[..., Any]
) -> None:
    batch = with_users(make_batch(5), [1.0, 1.0, 0.5, 1.0, 0.0])
    objective = build_objective("ppd", kit, {"beta": BETA}, {})
    draws = Draws(seed=0, positions=batch.positions)
    loss = accumulate(objective, nets, batch, draws)
    steps, noise = draws.integers("t", 0, 1000).tolist(), draws.normal("noise", (2, 4, 4)).double()
    logits = []
    for i, t in enumerate(steps):
        cond = batch.cond.rows(slice(i, i + 1))
        won = 0 if batch.score[i, 0] > batch.score[i, 1] else 1
        gate = float(cond.gate[0])
        change = []
        for x_0 in (batch.latents[i, won], batch.latents[i, 1 - won]):
            ours = _error(policy, x_0, noise[i], t, cond, gate)
            change.append(ours - _error(policy, x_0, noise[i], t, cond, 0.0))
        logits.append(-BETA / 2 * (change[0] - change[1]))
    assert max(map(abs, logits)) > 0.05
    assert loss.metrics["logit"].tolist() == pytest.approx(logits, rel=1e-9, abs=1e-12)
    expected = [-log(1 / (1 + exp(-u))) for u in logits]
    assert loss.metrics["loss"].tolist() == pytest.approx(expected, rel=1e-10)
    assert logits[4] == 0.0


def test_a_row_whose_gate_is_closed_has_loss_log_2_and_no_gradient(
    kit: Toolkit, policy: Hearing, nets: Nets, make_batch: Callable[..., Any]
) -> None:
    objective = build_objective("ppd", kit, {"beta": BETA}, {})
    for rows in (None, 1, 2):
        batch = with_users(make_batch(3), [0.0, 0.0, 0.0])
        policy.zero_grad(set_to_none=True)
        draws = Draws(seed=0, positions=batch.positions)
        loss = accumulate(objective, nets, batch, draws, rows_per_pass=rows)
        assert loss.metrics["loss"].tolist() == pytest.approx([log(2)] * 3, abs=1e-14)
        assert loss.metrics["implicit_accuracy"].tolist() == [0.5] * 3
        assert policy.user.weight.grad is not None
        assert not policy.user.weight.grad.any()


PARTS: dict[str, dict[str, Any]] = {
    "inversion": {"trajectory": {"kind": "inversion", "steps": 3}},
    "guided inversion": {"trajectory": {"kind": "inversion", "steps": 2, "guidance": 2.0}},
    "soft labels": {"loss": {"kind": "cross_entropy"}, "label": "soft"},
    "guard": {"guard": {"kind": "winner", "mu": 0.5}},
    "all of them": {
        "trajectory": {"kind": "inversion", "steps": 2},
        "loss": {"kind": "cross_entropy"},
        "label": "soft",
        "guard": {"kind": "winner", "mu": 0.5},
    },
}


@pytest.mark.parametrize("name", PARTS)
def test_it_goes_with_other_parts(
    name: str, kit: Toolkit, policy: Hearing, nets: Nets, make_batch: Callable[..., Any]
) -> None:
    objective: Any = build_objective("ppd", kit, {"beta": BETA}, PARTS[name])
    batch = with_users(make_batch(4))
    batch = replace(batch, uncond=batch.cond.nobodys(), score=batch.score * 0.8 + 0.1)
    policy.zero_grad(set_to_none=True)
    loss = accumulate(objective, nets, batch, Draws(seed=0, positions=batch.positions))
    grad = policy.user.weight.grad
    assert grad is not None
    assert grad.abs().max() > 0
    if "label" in PARTS[name]:
        u, p = loss.metrics["logit"], 0.9
        head = -p * torch.log(torch.sigmoid(u)) - (1 - p) * torch.log(torch.sigmoid(-u))
        assert torch.allclose(loss.metrics["loss"], head)
    if "guard" in PARTS[name]:
        assert bool((loss.metrics["guard_share"] <= 1).all())
    if "trajectory" in PARTS[name]:  # the walk hears the user: another user arrives elsewhere
        draws = Draws(seed=0, positions=batch.positions)
        other = replace(batch, cond=replace(batch.cond, user=-batch.cond.user))
        ours, theirs = (objective.draw(nets, each, draws).x_t for each in (batch, other))
        assert not torch.allclose(ours, theirs)


def test_a_counter_users_vote_cancels_all_that_does_not_depend_on_the_user(
    kit: Toolkit, policy: Hearing, nets: Nets, make_batch: Callable[..., Any]
) -> None:
    """With the same draws the bias, which everybody shares, gets no gradient at the start."""
    policy.user.weight.data.zero_()
    policy.user.bias.data.zero_()
    one = with_users(make_batch(1))
    both = PreferenceBatch(
        latents=one.latents.repeat(2, 1, 1, 1, 1),
        cond=one.cond.repeat_rows(2),
        score=torch.cat([one.score, one.score.flip(1)]),
        positions=one.positions.repeat(2),
    )
    other = torch.cat([one.cond.user, -one.cond.user])
    both = replace(both, cond=replace(both.cond, user=other))
    objective = build_objective("ppd", kit, {"beta": BETA}, {})
    found = []
    for batch in (one, both):
        policy.zero_grad(set_to_none=True)
        accumulate(objective, nets, batch, Draws(seed=0, positions=batch.positions))
        found.append((policy.user.bias.grad.clone(), policy.user.weight.grad.clone()))
    (bias, weight), (cancelled, kept) = found
    assert bias.abs().max() > 1e-3
    assert cancelled.abs().max() < 1e-15
    assert torch.allclose(kept, weight)


def test_the_table_says_that_it_needs_users() -> None:
    assert find_method("ppd").users
    assert not find_method("diffusion_dpo").users
