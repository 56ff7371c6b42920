"""Inversion: exact at any step, a convex combination of predictions, and the released grid."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import ceil
from typing import Any

import pytest
import torch
from torch import Tensor

from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.schedule import NoiseSchedule
from diffpref.trajectories.inversion import inversion
from diffpref.trajectories.ladder import Ladder, exact_ladder, released_ladder
from diffpref.types import Conditioning, Nets, Noised, PreferenceBatch

Make = Callable[..., Any]
EXTREMES = torch.tensor([0, 1, 57, 99, 100, 500, 998, 999])


def _draw(
    schedule: NoiseSchedule, net: Any, batch: PreferenceBatch, t: Tensor, **settings: Any
) -> Noised:
    trajectory = inversion(schedule, **settings)
    draws = Draws(seed=0, positions=batch.positions)
    return trajectory(Nets(policy=net, reference=settings.pop("ref", None)), batch, t, draws)


def test_a_ladder_ends_exactly_at_t_and_its_rungs_follow_each_other() -> None:
    rungs = exact_ladder(EXTREMES, steps=10, length=1000)
    for row, t in enumerate(EXTREMES.tolist()):
        active = rungs.active[row]
        source, target = rungs.source[row][active].tolist(), rungs.target[row][active].tolist()
        assert len(source) == ceil((t + 1) / 100)
        assert source[0] == -1
        assert target[-1] == t
        assert source[1:] == target[:-1]
        assert all(0 < b - a <= 100 for a, b in zip(source, target, strict=True))


def test_the_weights_at_the_noisiest_step(schedule: NoiseSchedule) -> None:
    """Each network call's share of tau, seen through a network that answers with its own step."""
    shares: list[float] = []
    for call in range(10):
        told = torch.arange(99, 1000, 100)[call]

        def net(x: Tensor, t: Tensor, cond: Conditioning, told: Tensor = told) -> Tensor:
            del cond
            return (t == told).to(x)[:, None, None, None].expand_as(x)

        batch = PreferenceBatch(
            latents=torch.zeros(1, 1, 1, 1, 1, dtype=torch.float64),
            cond=Conditioning(text=torch.zeros(1, 1, 1)),
            score=torch.ones(1, 1),
            positions=torch.tensor([0]),
        )
        point = _draw(schedule, net, batch, torch.tensor([999]))
        shares.append(point.noise.item())
    assert sum(shares) == pytest.approx(1.0, abs=1e-14)
    nu = [0.0] + [((1 - a) / a) ** 0.5 for a in schedule.abar[99::100].tolist()]
    assert shares == pytest.approx([(b - a) / nu[-1] for a, b in pairwise(nu)], abs=1e-14)
    # The design page shortens the last rung instead of the first, which moves the third digit.
    printed = [0.024, 0.016, 0.018, 0.023, 0.031, 0.046, 0.072, 0.122, 0.221, 0.429]
    assert shares == pytest.approx(printed, abs=4e-3)


@pytest.mark.parametrize("settings", [{}, {"iters": 1}, {"iters": 2, "eval_at": "source"}])
def test_a_constant_prediction_is_the_noise_at_every_step(
    schedule: NoiseSchedule, make_batch: Make, settings: dict[str, Any]
) -> None:
    batch = make_batch(8)
    constant = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    point = _draw(schedule, lambda x, *_: constant.expand_as(x), batch, EXTREMES, **settings)
    assert torch.allclose(point.noise, constant.expand_as(point.noise), atol=1e-13)
    x_0 = batch.latents.flatten(0, 1)
    assert torch.allclose(point.x_t, schedule.noised(x_0, point.noise, point.t), atol=1e-12)


@pytest.mark.parametrize("eval_at", ["source", "target"])
def test_ddim_inversion_is_steps_of_the_sampler_backwards(
    schedule: NoiseSchedule, make_net: Make, make_batch: Make, eval_at: str
) -> None:
    net, batch = make_net(1), make_batch(8)
    point = _draw(schedule, net, batch, EXTREMES, steps=7, eval_at=eval_at)
    cond = batch.row_cond()
    stride = ceil(1000 / 7)
    for row, x in enumerate(batch.latents.flatten(0, 1)):
        t = int(EXTREMES[row // 2])
        levels = [-1, *range(t % stride, t + 1, stride)]
        at = x[None]
        for low, high in pairwise(levels):
            told = torch.tensor([low if eval_at == "source" else high])
            with torch.no_grad():
                eps = net(at, told, cond.rows(slice(row, row + 1)))
            at = schedule.ddim(at, eps, torch.tensor([low]), torch.tensor([high]))
        assert torch.allclose(point.x_t[row], at[0], rtol=1e-10, atol=1e-12)
        implied = schedule.noise_between(x[None], at, torch.tensor([t]))
        assert torch.allclose(point.noise[row], implied[0], atol=1e-9)


def test_renoise_averages_predictions_made_where_the_last_one_led(
    schedule: NoiseSchedule, make_net: Make, make_batch: Make
) -> None:
    net, batch = make_net(1), make_batch(1)
    t = torch.tensor([499])
    weights = (0.2, 0.3, 0.5)
    point = _draw(schedule, net, batch, t, steps=4, iters=2, weights=weights)
    cond = batch.row_cond().rows(slice(0, 1))
    at = batch.latents[0, :1]
    for low, high in ((-1, 249), (249, 499)):
        a, b = torch.tensor([low]), torch.tensor([high])
        with torch.no_grad():
            eps = [net(at, b, cond)]
            for _ in range(2):
                eps.append(net(schedule.ddim(at, eps[-1], a, b), b, cond))
        mean = sum(w * each for w, each in zip(weights, eps, strict=True))
        at = schedule.ddim(at, mean, a, b)
    assert torch.allclose(point.x_t[:1], at, rtol=1e-11)


def test_rows_do_not_see_each_other_and_cost_what_they_need(
    schedule: NoiseSchedule, make_net: Make, make_batch: Make
) -> None:
    net, batch = make_net(1), make_batch(8)
    rows: list[int] = []

    def counted(x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        rows.append(len(x))
        return net(x, t, cond)

    whole = _draw(schedule, counted, batch, EXTREMES, iters=1)
    assert sum(rows) == 2 * 2 * sum(ceil((t + 1) / 100) for t in EXTREMES.tolist())
    assert len(rows) == 2 * 10
    climb = inversion(schedule, steps=10, iters=1)
    assert 2 * int(climb.passes(EXTREMES).sum()) == sum(rows)
    for i in range(8):
        index = slice(i, i + 1)
        alone = replace(
            batch,
            latents=batch.latents[index],
            cond=batch.cond.rows(index),
            score=batch.score[index],
            positions=batch.positions[index],
        )
        single = _draw(schedule, net, alone, EXTREMES[index], iters=1)
        assert torch.allclose(single.noise, whole.noise[2 * i : 2 * i + 2], atol=1e-13)
    assert not whole.noise.requires_grad


def test_noise_on_the_way_is_reproducible_and_part_of_the_target(
    schedule: NoiseSchedule, make_net: Make, make_batch: Make
) -> None:
    net, batch = make_net(1), make_batch(4)
    t = torch.tensor([50, 300, 700, 999])
    quiet = _draw(schedule, net, batch, t)
    loud, again = (_draw(schedule, net, batch, t, eta=0.5) for _ in range(2))
    assert torch.equal(loud.x_t, again.x_t)
    assert not torch.allclose(loud.x_t[2:], quiet.x_t[2:])
    # The first rung leaves the clean level, where the posterior has no spread.
    assert torch.equal(loud.x_t[:2], quiet.x_t[:2])
    x_0 = batch.latents.flatten(0, 1)
    assert torch.allclose(loud.x_t, schedule.noised(x_0, loud.noise, loud.t), atol=1e-12)


def test_guidance_and_the_inverting_network(
    schedule: NoiseSchedule, make_net: Make, make_batch: Make
) -> None:
    policy, reference, batch = make_net(1), make_net(2), make_batch(2)
    t = torch.tensor([300, 800])
    draws = Draws(seed=0, positions=batch.positions)
    both = Nets(policy=policy, reference=reference)
    by_reference = inversion(schedule, network="reference")(both, batch, t, draws)
    alone = inversion(schedule)(Nets(reference, None), batch, t, draws)
    assert torch.equal(by_reference.x_t, alone.x_t)
    with pytest.raises(ConfigError, match=r"reference\.kind"):
        inversion(schedule, network="reference")(Nets(policy, None), batch, t, draws)
    with pytest.raises(ConfigError, match="guidance"):
        inversion(schedule, guidance=2.0)(both, batch, t, draws)
    empty = replace(batch, uncond=batch.cond.map(lambda text: 0 * text))
    guided = inversion(schedule, guidance=2.0)(both, empty, t, draws)
    told, free = batch.row_cond(), empty.row_uncond()
    assert free is not None

    def doubled(x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        return 2 * policy(x, t, cond) - policy(x, t, cond.map(lambda text: 0 * text))

    by_hand = inversion(schedule)(Nets(doubled, None), batch, t, draws)
    assert torch.allclose(guided.x_t, by_hand.x_t, rtol=1e-12)
    assert len(told) == len(free) == 4


def test_half_precision_latents_are_inverted_in_float32(
    schedule: NoiseSchedule, make_batch: Make
) -> None:
    batch = make_batch(2)
    batch = replace(batch, latents=batch.latents.half())
    seen: set[torch.dtype] = set()

    def net(x: Tensor, *_: object) -> Tensor:
        seen.add(x.dtype)
        return 0.5 * x

    point = _draw(schedule, net, batch, torch.tensor([10, 900]))
    assert seen == {torch.float16}
    assert (point.x_t.dtype, point.noise.dtype) == (torch.float16, torch.float32)


def test_the_released_grid_stops_beside_t() -> None:
    """Under diffusers 0.20 the grid is {-99, 1, 101 ... 801}: levels 1, 101 ... 901 are reached."""
    t = torch.tensor([0, 1, 2, 101, 102, 802, 950, 999])
    rungs = released_ladder(t, steps=10, length=1000)
    assert rungs.source[0].tolist() == [-99, *range(1, 802, 100)]
    reached = [int(rungs.target[i][rungs.active[i]][-1]) for i in range(len(t))]
    assert reached == [1, 1, 101, 101, 201, 901, 901, 901]


def test_the_released_target_has_a_second_moment_far_above_one(schedule: NoiseSchedule) -> None:
    """For unit-variance data and predictions: x is at level 101, its target is read at t."""
    rng = torch.Generator().manual_seed(0)
    x_0 = torch.randn(1, 1, 4, 64, 64, generator=rng, dtype=torch.float64)
    eps = torch.randn(1, 4, 64, 64, generator=rng, dtype=torch.float64)
    batch = PreferenceBatch(
        latents=x_0,
        cond=Conditioning(text=torch.zeros(1, 1, 1)),
        score=torch.ones(1, 1),
        positions=torch.tensor([0]),
    )
    first, level = schedule.abar[0].item(), schedule.abar[101].item()
    for t in (2, 5, 10, 20, 50):
        point = _draw(schedule, lambda *_: eps, batch, torch.tensor([t]), grid="legacy")
        at = schedule.abar[t].item()
        rise = ((1 - level) / level) ** 0.5 - ((1 - first) / first) ** 0.5
        kept = ((level / first) ** 0.5 - at**0.5) ** 2
        moment = (kept + level * rise**2) / (1 - at)
        assert point.noise.square().mean().item() == pytest.approx(moment, rel=0.05)
        assert moment > 1.8


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"steps": 1001}, {"iters": -1}, {"eta": -0.1}, {"weights": [1.0, 1.0]}],
)
def test_settings_out_of_range_are_refused(
    schedule: NoiseSchedule, settings: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"must be|needs"):
        inversion(schedule, **settings)


@pytest.mark.parametrize("ladder", [exact_ladder, released_ladder])
def test_no_rung_is_climbed_by_nobody(ladder: Callable[..., Ladder]) -> None:
    for t in ([0, 5], [40, 350], [999, 3], [120, 121]):
        rungs = ladder(torch.tensor(t), steps=10, length=1000)
        assert bool(rungs.active.any(dim=0).all()), t
