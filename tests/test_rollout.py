"""Rollouts: the same path again, the right things judged, what they cost, winners that move."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from diffpref.draws import Draws
from diffpref.methods.ddpo import ddpo
from diffpref.methods.draft import draft
from diffpref.methods.refl import refl
from diffpref.schedule import NoiseSchedule
from diffpref.step_objective import Branching
from diffpref.steps import State, StepPlan, Transitions
from diffpref.tail_objective import Tail
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.trajectories.displace import displacement
from diffpref.trajectories.rollout import Branch, branched
from diffpref.trajectories.stepping import mean_of
from diffpref.trajectories.walk import walk
from diffpref.types import Conditioning, Latents, Nets, PromptBatch, Steps
from diffpref.walk_objective import Walking
from tests.methods import windows

Make = Callable[..., Any]


@pytest.fixture
def batch(make_batch: Make) -> PromptBatch:
    made = windows.prompts(make_batch(3))
    empty = Conditioning(text=torch.zeros_like(made.cond.text))
    return replace(made, uncond=empty)


@pytest.fixture
def draws(batch: PromptBatch) -> Draws:
    return Draws(seed=4, positions=batch.positions)


class Counted:
    """A network or a reward that notes the rows of every call, and what it was told."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.rows = inner, list[int]()
        self.seen: list[tuple[Tensor, Any]] = []
        self.space, self.differentiable = "latent", True
        self.noisy = getattr(inner, "noisy", False)

    def __call__(self, x: Tensor, t: Any, told: Any, /) -> Tensor:
        self.rows.append(len(x))
        self.seen.append((x, t))
        return self.inner(x, t, told)


@torch.no_grad()
def _branches(
    net: Any,
    schedule: NoiseSchedule,
    batch: PromptBatch,
    reward: Any,
    draws: Draws,
    **options: Any,
) -> list[Branch]:
    return list(branched(net, schedule, batch, reward, draws, **options))


def test_the_continued_path_of_first_is_that_of_one_candidate(
    schedule: NoiseSchedule,
    batch: PromptBatch,
    draws: Draws,
    plan: StepPlan,
    make_net: Make,
    make_reward: Make,
) -> None:
    net = make_net(1)
    alone = list(walk(net, schedule, batch, draws, plan=plan))
    for k in (2, 4):
        found = _branches(
            net,
            schedule,
            batch,
            make_reward(),
            draws,
            plan=plan,
            k=k,
            continue_from="first",
            skip_last=False,
        )
        assert len(found) == len(alone)
        for branch, (state, mean, x_s) in zip(found, alone, strict=True):
            # Batches of another size round differently in the last bits.
            assert torch.allclose(branch.state.x_t, state.x_t, rtol=0, atol=1e-12)
            assert torch.allclose(branch.mean, mean, rtol=0, atol=1e-12)
            assert torch.allclose(branch.x_s[:, 0], x_s, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", ["winner", "random", "loser", "first"])
def test_a_rollout_replays_and_its_prompts_do_not_see_each_other(
    rule: Any,
    schedule: NoiseSchedule,
    batch: PromptBatch,
    draws: Draws,
    plan: StepPlan,
    make_net: Make,
    make_reward: Make,
) -> None:
    net = make_net(1)
    options: dict[str, Any] = {"plan": plan, "k": 3, "continue_from": rule}
    one = _branches(net, schedule, batch, make_reward(), draws, **options)
    torch.manual_seed(3)
    again = _branches(net, schedule, batch, make_reward(), draws, **options)
    for a, b in zip(one, again, strict=True):
        assert torch.equal(a.x_s, b.x_s)
        assert torch.equal(a.reward, b.reward)
    for i in range(len(batch)):
        single = windows.one(replace(batch, uncond=None), i)
        own = Draws(draws.seed, single.positions)
        for a, b in zip(
            one, _branches(net, schedule, single, make_reward(), own, **options), strict=True
        ):
            assert torch.allclose(a.x_s[i], b.x_s[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", ["winner", "loser"])
def test_the_next_state_is_the_candidate_that_the_rule_names(
    rule: Any,
    schedule: NoiseSchedule,
    batch: PromptBatch,
    draws: Draws,
    plan: StepPlan,
    make_net: Make,
    make_reward: Make,
) -> None:
    found = _branches(
        make_net(1),
        schedule,
        batch,
        make_reward(),
        draws,
        plan=plan,
        k=3,
        continue_from=rule,
    )
    for now, then in pairwise(found):
        wanted = now.reward.argmax(dim=1) if rule == "winner" else now.reward.argmin(dim=1)
        assert torch.equal(then.state.x_t, now.x_s[torch.arange(3), wanted])
        assert torch.equal(now.best, now.reward.argmax(dim=1))
        assert torch.equal(now.worst, now.reward.argmin(dim=1))


def test_the_reward_reads_clean_images_predicted_at_the_candidates_own_level(
    schedule: NoiseSchedule,
    batch: PromptBatch,
    draws: Draws,
    plan: StepPlan,
    make_net: Make,
    make_reward: Make,
) -> None:
    net, reward = make_net(1), Counted(make_reward())
    found = _branches(net, schedule, batch, reward, draws, plan=plan, k=2, start=1, skip_last=False)
    assert len(found) == len(reward.seen) == 4
    for (seen, told), branch, (_, s) in zip(reward.seen, found, plan.levels[1:], strict=True):
        x_s, level = branch.x_s.flatten(0, 1), torch.full((6,), s)
        assert told is None
        if s == plan.levels[-1][1]:
            assert torch.equal(seen, x_s)
            continue
        with torch.no_grad():
            eps = net(x_s, level, batch.cond.repeat_rows(2))
        abar = schedule.abar[s]
        clean = (x_s - (1 - abar).sqrt() * eps) / abar.sqrt()
        assert torch.allclose(seen, clean, rtol=1e-9, atol=1e-10)


def test_a_noisy_reward_reads_the_candidates_themselves_and_nothing_is_predicted_for_it(
    schedule: NoiseSchedule,
    batch: PromptBatch,
    draws: Draws,
    plan: StepPlan,
    make_net: Make,
    make_reward: Make,
) -> None:
    net, reward = Counted(make_net(1)), Counted(make_reward(noisy=True))
    found = _branches(net, schedule, batch, reward, draws, plan=plan, k=4)
    for (seen, told), branch, (_, s) in zip(reward.seen, found, plan.levels, strict=False):
        assert torch.equal(seen, branch.x_s.flatten(0, 1))
        assert told.tolist() == [s] * 12
    assert sum(net.rows) == 3 * len(plan.levels)


@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize(("k", "start", "skip_last"), [(2, 1, True), (4, 0, True), (3, 2, False)])
def test_the_calls_are_those_of_the_analytic_count(
    k: int,
    start: int,
    skip_last: bool,
    guidance: float,
    schedule: NoiseSchedule,
    batch: PromptBatch,
    draws: Draws,
    plan: StepPlan,
    make_net: Make,
    make_reward: Make,
) -> None:
    """One call opens, k follow every judged step but the last of all, one every plain step."""
    plan = replace(plan, guidance=guidance)
    net, reward = Counted(make_net(1)), Counted(make_reward())
    found = _branches(
        net, schedule, batch, reward, draws, plan=plan, k=k, start=start, skip_last=skip_last
    )
    total = len(plan.levels)
    judged = total - start - skip_last
    assert len(found) == judged
    calls = 1 + start + k * (judged - (not skip_last))
    assert sum(net.rows) == len(batch) * calls * (2 if guidance > 1 else 1)
    assert sum(reward.rows) == len(batch) * judged * k


def test_walks_start_alike_or_apart_and_end_clean(
    schedule: NoiseSchedule, batch: PromptBatch, draws: Draws, plan: StepPlan, make_net: Make
) -> None:
    net = Counted(make_net(1))
    together = list(walk(net, schedule, batch, draws, plan=plan, k=2, same_start=True))
    apart = list(walk(net, schedule, batch, draws, plan=plan, k=2))
    assert sum(net.rows) == 2 * 2 * len(batch) * len(plan.levels)
    first, other = together[0][0].x_t, apart[0][0].x_t
    assert torch.equal(first[0::2], batch.noise)
    assert torch.equal(first[0::2], first[1::2])
    assert not torch.equal(other[0::2], other[1::2])
    assert not torch.equal(together[-1][2][0::2], together[-1][2][1::2])
    for state, mean, x_s in together:
        move = schedule.transition(state.t, state.s, eta=plan.eta)
        with torch.no_grad():
            eps = net(state.x_t, state.t, state.cond)
        assert torch.allclose(mean, mean_of(move, state.x_t, eps))
        assert ((x_s - mean).abs().amax(dim=(1, 2, 3)) < 5 * move.std).all()


def test_before_the_first_update_the_ratio_to_the_sampler_is_exactly_one(
    schedule: NoiseSchedule,
    kit: Toolkit,
    batch: PromptBatch,
    draws: Draws,
    plan: StepPlan,
    make_net: Make,
) -> None:
    net, objective = make_net(1), ddpo(kit, k=2)
    with torch.no_grad():
        steps = list(walk(net, schedule, batch, draws, plan=plan, k=2))
    for state, mean, x_s in steps:
        window = Transitions(
            state=state,
            x_s=x_s,
            mean=mean,
            score=torch.linspace(-1, 1, 6, dtype=torch.float64)[:, None],
            plan=plan,
            positions=batch.positions.repeat_interleave(2),
        )
        loss = accumulate(objective, Nets(net, None), window, Draws(0, window.positions))
        assert loss.metrics["log_ratio"].abs().max() == 0
        assert loss.metrics["clamped"].max() == 0
        assert loss.value.item() == pytest.approx(0, abs=1e-15)


def test_walking_keeps_the_best_and_the_worst_or_grades_everything() -> None:
    reward = torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0]], dtype=torch.float64)
    kept, score = Walking(k=3, same_start=True, score="pair").kept(reward)
    assert kept[0].tolist() == [1, 0]
    assert score.tolist() == [[1, 0], [1, 0]]
    kept, score = Walking(k=3, same_start=True, score="advantage", clip=1.1).kept(reward)
    assert kept.tolist() == [[0, 1, 2]] * 2
    assert score[0].tolist() == pytest.approx([-1.1, 1.1, 0])
    assert score[1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_moved_winners_stay_within_the_cap_and_are_rarely_worse(
    rate: float,
    schedule: NoiseSchedule,
    draws: Draws,
    plan: StepPlan,
    make_batch: Make,
    make_net: Make,
    make_reward: Make,
) -> None:
    made = windows.prompts(make_batch(40))
    net, reward = make_net(1), make_reward()
    draws = Draws(4, made.positions)
    move = displacement(net, schedule, reward, made.prompts, plan=plan, push=rate)
    found = _branches(
        net,
        schedule,
        made,
        reward,
        draws,
        plan=plan,
        k=2,
        displace=move,
        skip_last=False,
    )
    higher: list[bool] = []
    for branch, (t, s) in zip(found, plan.levels, strict=True):
        assert branch.moved is not None
        winner = branch.x_s[torch.arange(40), branch.best]
        length = (branch.moved - winner).flatten(1).norm(dim=1)
        std = schedule.transition(torch.tensor([t]), torch.tensor([s]), eta=1.0).std
        cap = rate * std * winner[0].numel() ** 0.5
        assert (length <= cap * (1 + 1e-9)).all()
        level = torch.full((40,), s)
        with torch.no_grad():
            clean = branch.moved
            if s != plan.levels[-1][1]:
                eps = net(branch.moved, level, made.cond)
                clean = schedule.clean(branch.moved, eps, level)
            gap = reward(clean, None, made.prompts) - branch.reward.amin(dim=1)
        before = branch.reward.amax(dim=1) - branch.reward.amin(dim=1)
        higher += (gap >= before).tolist()
    assert sum(higher) > 0.95 * len(higher)


def test_the_next_step_starts_from_the_moved_winner(
    schedule: NoiseSchedule,
    batch: PromptBatch,
    draws: Draws,
    plan: StepPlan,
    make_net: Make,
    make_reward: Make,
) -> None:
    net, reward = make_net(1), make_reward()
    move = displacement(net, schedule, reward, batch.prompts, plan=plan, push=0.1)
    found = _branches(net, schedule, batch, reward, draws, plan=plan, k=2, displace=move)
    for now, then in pairwise(found):
        assert torch.equal(then.state.x_t, now.moved)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_displacement_is_the_gradient_of_the_squared_distance_to_the_high_reward(
    schedule: NoiseSchedule,
    batch: PromptBatch,
    plan: StepPlan,
    make_net: Make,
    make_reward: Make,
) -> None:
    """Central differences of -(high - r)^2, within the cap; beyond `high` winners move back."""
    net, reward = make_net(1), make_reward()
    t, s = torch.full((3,), 401), torch.full((3,), 201)
    below = State(x_t=batch.noise, t=t, s=s, cond=batch.cond)
    step = schedule.transition(torch.full((3,), 601), t, eta=1.0)
    x = batch.noise

    def rewards(x: Latents) -> Tensor:
        with torch.no_grad():
            clean = schedule.clean(x, net(x, t, batch.cond), t)
        return reward(clean, None, batch.prompts)

    for high in (0.9, -0.9):
        move = displacement(net, schedule, reward, batch.prompts, plan=plan, push=10.0, high=high)
        shift = (move(below, x, step) - x).flatten(1)
        for element in (0, 7, 31):
            nudge = torch.zeros_like(x).flatten(1)
            nudge[:, element] = 1e-5
            up, down = (-(high - rewards(x + sign * nudge.view_as(x))).square() for sign in (1, -1))
            slope = (up - down) / 2e-5
            expected = step.std.square() * slope
            assert torch.allclose(shift[:, element], expected, rtol=1e-5, atol=1e-10)
    tight = displacement(net, schedule, reward, batch.prompts, plan=plan, push=1e-4, high=0.9)
    length = (tight(below, x, step) - x).flatten(1).norm(dim=1)
    assert torch.allclose(length, 1e-4 * step.std * 32**0.5)


def test_a_reward_without_gradient_displaces_nothing(
    schedule: NoiseSchedule, plan: StepPlan, make_net: Make, make_reward: Make
) -> None:
    for reward, push, says in (
        (make_reward(differentiable=False), 0.1, "differentiable"),
        (make_reward(), 0.0, "push"),
    ):
        with pytest.raises(ValueError, match=says):
            displacement(make_net(1), schedule, reward, ("",), plan=plan, push=push)


def test_pairs_are_kept_by_their_gap_and_by_a_threshold_that_follows_the_noise(
    schedule: NoiseSchedule, plan: StepPlan
) -> None:
    t, s = torch.tensor(plan.levels).T
    gap = torch.full((5,), 0.9)
    told: dict[str, Any] = {"schedule": schedule, "plan": plan, "t": t, "s": s}
    assert Branching(min_gap=0.5).keeps(gap, 1.7, **told).all()
    assert not Branching(min_gap=0.5).keeps(gap, 1.9, **told).any()
    assert not Branching(min_gap=0.0).keeps(torch.zeros(5), 1.0, **told).any()
    assert not Branching(min_gap=float("inf")).keeps(gap, 1.0, **told).any()
    share = torch.tanh(gap[0] / 2).item()
    kept = Branching(min_gap=0.0, threshold=(share - 0.1, share + 0.1)).keeps(gap, 1.0, **told)
    std = schedule.transition(t, s, eta=1.0).std
    middle = (std.min() + std.max()) / 2
    assert kept.tolist() == (std < middle).tolist()
    assert 0 < kept.sum() < 5


def _ends(
    net: Any, schedule: NoiseSchedule, batch: PromptBatch, draws: Draws, plan: StepPlan
) -> Tensor:
    return list(walk(net, schedule, batch, draws, plan=plan))[-1][2]


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_the_measured_reward_of_a_tail_is_that_of_the_whole_walk(
    steps: int,
    schedule: NoiseSchedule,
    kit: Toolkit,
    batch: PromptBatch,
    draws: Draws,
    plan: StepPlan,
    make_net: Make,
    make_reward: Make,
) -> None:
    counted = Counted(make_net(1))
    objective = draft(kit, steps=steps)
    with torch.no_grad():
        point = objective.draw(Nets(counted, None), batch, draws)
        assert sum(counted.rows) == len(batch) * (len(plan.levels) - steps)
        found = objective.measure(counted, point)
        assert sum(counted.rows) == len(batch) * len(plan.levels)
        ends = _ends(counted, schedule, batch, draws, plan)
    assert torch.allclose(found, make_reward()(ends, None, batch.prompts), rtol=1e-12)


def test_tails_of_different_lengths_are_measured_as_if_alone(
    schedule: NoiseSchedule,
    kit: Toolkit,
    batch: PromptBatch,
    draws: Draws,
    plan: StepPlan,
    make_net: Make,
    make_reward: Make,
) -> None:
    net, objective = make_net(1), draft(kit)
    cuts = torch.tensor([4, 0, 2])
    objective = replace(objective, cut=lambda *_: cuts)
    with torch.no_grad():
        point = objective.draw(Nets(net, None), batch, draws)
        ends = _ends(net, schedule, batch, draws, plan)
    assert point.t.tolist() == [plan.levels[i][0] for i in cuts]
    expected = make_reward()(ends, None, batch.prompts)
    assert torch.allclose(objective.measure(net, point), expected, rtol=1e-12)
    for i in range(3):
        alone = objective.measure(net, point.rows(slice(i, i + 1)))
        assert torch.allclose(alone, expected[i : i + 1], rtol=1e-12)


def test_refl_goes_to_the_clean_image_in_one_step_from_late_in_the_plan(
    schedule: NoiseSchedule,
    kit: Toolkit,
    batch: PromptBatch,
    draws: Draws,
    make_net: Make,
    make_reward: Make,
) -> None:
    net, objective = make_net(1), refl(kit, start=0.6)
    with torch.no_grad():
        point: Tail = objective.draw(Nets(net, None), batch, draws)
        assert set(point.cut.tolist()) <= {3, 4}
        eps = net(point.state.x_t, point.t, batch.cond)
        abar = schedule.abar[point.t].view(-1, 1, 1, 1)
        clean = (point.state.x_t - (1 - abar).sqrt() * eps) / abar.sqrt()
        reward = make_reward()(clean, None, batch.prompts)
        measured = objective.measure(net, point)
    assert torch.allclose(measured, reward, rtol=1e-12)
    loss = objective.compare(measured, None, point)
    assert loss.value.item() == pytest.approx(1e-3 * (2 - reward).clamp(min=0).mean().item())


def test_the_gradient_of_a_tail_is_that_of_central_differences_with_the_prefix_held(
    kit: Toolkit, batch: PromptBatch, draws: Draws, make_net: Make
) -> None:
    net, objective = make_net(1), draft(kit, steps=3)
    with torch.no_grad():
        point = objective.draw(Nets(net, None), batch, draws)
    objective.measure(net, point).sum().backward()
    for parameter in net.parameters():
        flat, slopes = parameter.data.view(-1), parameter.grad.view(-1)
        kept = flat[0].item()
        values: list[float] = []
        for step in (1e-5, -1e-5):
            flat[0] = kept + step
            with torch.no_grad():
                values.append(objective.measure(net, point).sum().item())
        flat[0] = kept
        slope = (values[0] - values[1]) / 2e-5
        assert slopes[0].item() == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_the_policy_samples_with_guidance(
    schedule: NoiseSchedule, batch: PromptBatch, draws: Draws, plan: StepPlan, make_net: Make
) -> None:
    net = make_net(1)

    def guided(x: Latents, t: Steps, cond: Conditioning, /) -> Latents:
        assert batch.uncond is not None
        free = net(x, t, batch.uncond)
        return free + 4.0 * (net(x, t, cond) - free)

    with torch.no_grad():
        found = _ends(net, schedule, batch, draws, replace(plan, guidance=4.0))
        expected = _ends(guided, schedule, batch, draws, plan)
    assert torch.allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="empty prompt"):
        _ends(net, schedule, replace(batch, uncond=None), draws, replace(plan, guidance=4.0))
