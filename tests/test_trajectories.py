"""Forward noise: one step per prompt, noise shared or not, keyed by position."""

from collections.abc import Callable
from dataclasses import replace

import torch

from diffpref.draws import Draws
from diffpref.schedule import NoiseSchedule
from diffpref.trajectories.forward import forward
from diffpref.types import Nets, PreferenceBatch

NOBODY = Nets(policy=lambda *_: torch.empty(0), reference=None)
Maker = Callable[..., PreferenceBatch]


def _draws(batch: PreferenceBatch, seed: int = 0) -> Draws:
    return Draws(seed=seed, positions=batch.positions)


def test_x_t_is_the_noised_latent_at_the_prompts_step(
    schedule: NoiseSchedule, make_batch: Maker
) -> None:
    batch, t = make_batch(3, 2), torch.tensor([5, 500, 999])
    point = forward(schedule)(NOBODY, batch, t, _draws(batch))
    assert point.t.tolist() == [5, 5, 500, 500, 999, 999]
    for row in range(6):
        abar = schedule.abar[point.t[row]]
        x_0 = batch.latents[row // 2, row % 2]
        expected = abar.sqrt() * x_0 + (1 - abar).sqrt() * point.noise[row]
        assert torch.allclose(point.x_t[row], expected, atol=1e-14)
        assert torch.equal(point.cond.text[row], batch.cond.text[row // 2])


def test_noise_is_shared_within_a_prompt_and_differs_between_prompts(
    schedule: NoiseSchedule, make_batch: Maker
) -> None:
    batch, t = make_batch(2, 3), torch.tensor([10, 10])
    noise = forward(schedule)(NOBODY, batch, t, _draws(batch)).noise
    assert torch.equal(noise[0], noise[1])
    assert torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0], noise[3])
    assert torch.equal(noise[0], _draws(batch).normal("noise", tuple(noise.shape[1:]))[0].double())


def test_noise_can_be_each_images_own(schedule: NoiseSchedule, make_batch: Maker) -> None:
    batch, t = make_batch(2, 2), torch.tensor([10, 10])
    noise = forward(schedule, shared=False)(NOBODY, batch, t, _draws(batch)).noise
    assert len({row.sum().item() for row in noise}) == 4


def test_a_prompts_point_does_not_depend_on_its_batch(
    schedule: NoiseSchedule, make_batch: Maker
) -> None:
    batch, t = make_batch(3, 2), torch.tensor([5, 500, 999])
    alone = replace(
        batch,
        latents=batch.latents[1:2],
        cond=batch.cond.rows(slice(1, 2)),
        score=batch.score[1:2],
        positions=batch.positions[1:2],
    )
    for shared in (True, False):
        whole = forward(schedule, shared=shared)(NOBODY, batch, t, _draws(batch))
        one = forward(schedule, shared=shared)(NOBODY, alone, t[1:2], _draws(alone))
        assert torch.equal(whole.x_t[2:4], one.x_t)


def test_scores_and_weights_pass_through(schedule: NoiseSchedule, make_batch: Maker) -> None:
    batch = replace(make_batch(2, 2), weight=torch.tensor([1.0, 3.0]))
    point = forward(schedule)(NOBODY, batch, torch.tensor([1, 2]), _draws(batch))
    assert torch.equal(point.score, batch.score)
    assert point.weight is batch.weight


def test_half_latents_give_half_points(schedule: NoiseSchedule, make_batch: Maker) -> None:
    batch = make_batch(2, 2, dtype=torch.float32)
    half = replace(batch, latents=batch.latents.half())
    point = forward(schedule)(NOBODY, half, torch.tensor([1, 2]), _draws(half))
    assert point.x_t.dtype == point.noise.dtype == torch.float16
