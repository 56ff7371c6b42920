"""The schedule's moves are exact inverses and have the moments they claim."""

import math

import pytest
import torch

from diffpref.schedule import NoiseSchedule, scaled_linear

T = torch.tensor([0, 1, 137, 500, 998, 999])


def _latents(seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(len(T), 2, 3, 3, generator=rng, dtype=torch.float64).to(dtype)


def test_the_stable_diffusion_schedule_has_its_known_ends(schedule: NoiseSchedule) -> None:
    assert len(schedule) == 1000
    assert schedule.abar.dtype == torch.float64
    assert float(schedule.abar[0]) == pytest.approx(1 - 0.00085, abs=1e-12)
    assert float(schedule.abar[-1]) == pytest.approx(0.00466, abs=1e-5)


def test_noised_is_the_formula_row_by_row(schedule: NoiseSchedule) -> None:
    x, noise = _latents(0), _latents(1)
    x_t = schedule.noised(x, noise, T)
    for row, t in enumerate(T.tolist()):
        abar = float(schedule.abar[t])
        expected = math.sqrt(abar) * x[row] + math.sqrt(1 - abar) * noise[row]
        assert torch.allclose(x_t[row], expected, rtol=0, atol=1e-15)


def test_noised_latents_have_unit_variance_if_the_clean_ones_do(schedule: NoiseSchedule) -> None:
    rng = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 4, 1, 100, 100, generator=rng)
    x_t = schedule.noised(x, noise, torch.tensor([10, 300, 600, 990]))
    assert torch.allclose(x_t.var(dim=(1, 2, 3)), torch.ones(4), atol=0.05)


def test_clean_and_noise_between_undo_noised(schedule: NoiseSchedule) -> None:
    x, noise = _latents(0), _latents(1)
    x_t = schedule.noised(x, noise, T)
    assert torch.allclose(schedule.clean(x_t, noise, T), x, atol=1e-12)
    assert torch.allclose(schedule.noise_between(x, x_t, T), noise, atol=1e-11)


def test_the_clean_level_is_minus_one(schedule: NoiseSchedule) -> None:
    x, noise = _latents(0), _latents(1)
    clean = torch.full_like(T, -1)
    assert torch.equal(schedule.noised(x, noise, clean), x)
    assert torch.equal(schedule.clean(x, noise, clean), x)
    assert schedule.at(clean).tolist() == [1.0] * len(T)


def test_ddim_up_then_down_is_the_identity(schedule: NoiseSchedule) -> None:
    x, eps = _latents(0), _latents(1)
    clean = torch.full_like(T, -1)
    up = schedule.ddim(x, eps, clean, T)
    assert torch.allclose(schedule.ddim(up, eps, T, clean), x, atol=1e-12)
    to = T.flip(0)
    there = schedule.ddim(x, eps, T, to)
    assert torch.allclose(schedule.ddim(there, eps, to, T), x, atol=1e-11)


def test_ddim_with_the_true_noise_is_forward_noising(schedule: NoiseSchedule) -> None:
    x, noise = _latents(0), _latents(1)
    to = T.flip(0)
    x_t = schedule.noised(x, noise, T)
    assert torch.allclose(
        schedule.ddim(x_t, noise, T, to), schedule.noised(x, noise, to), atol=1e-12
    )


def test_a_transition_without_noise_is_ddim(schedule: NoiseSchedule) -> None:
    x_t, eps = _latents(0), _latents(1)
    to = torch.tensor([-1, 0, 100, 20, -1, 979])
    move = schedule.transition(T, to, eta=0.0)
    shape = (-1, 1, 1, 1)
    by_coefficients = move.signal.view(shape) * x_t + move.noise.view(shape) * eps
    assert torch.allclose(by_coefficients, schedule.ddim(x_t, eps, T, to), atol=1e-12)
    assert move.std.tolist() == [0.0] * len(T)


def test_an_ancestral_transition_keeps_the_marginal(schedule: NoiseSchedule) -> None:
    """With the true noise, x_s must again have signal sqrt(abar_s) and variance 1 - abar_s."""
    t, to = torch.tensor([999, 500, 101, 51]), torch.tensor([979, 480, 51, 1])
    for eta in (0.3, 1.0):
        move = schedule.transition(t, to, eta=eta)
        signal = move.signal * schedule.at(t).sqrt()
        noise = move.signal * (1 - schedule.at(t)).sqrt() + move.noise
        assert torch.allclose(signal, schedule.at(to).sqrt(), atol=1e-14)
        assert torch.allclose(noise**2 + move.std**2, 1 - schedule.at(to), atol=1e-14)


def test_an_ancestral_step_has_the_published_standard_deviation(schedule: NoiseSchedule) -> None:
    t = torch.tensor([951, 101, 51])
    std = schedule.transition(t, t - 50, eta=1.0).std
    assert std.tolist() == pytest.approx([0.644, 0.167, 0.041], abs=6e-4)
    to_clean = schedule.transition(t, torch.full_like(t, -1), eta=1.0)
    assert to_clean.std.tolist() == [0.0] * 3
    assert not to_clean.noise.isnan().any()


def test_velocity_and_epsilon_convert_both_ways(schedule: NoiseSchedule) -> None:
    x, noise = _latents(0), _latents(1)
    x_t, v = schedule.noised(x, noise, T), schedule.velocity(x, noise, T)
    assert torch.allclose(schedule.epsilon_from_velocity(v, x_t, T), noise, atol=1e-12)
    assert torch.allclose(schedule.velocity_from_epsilon(noise, x_t, T), v, atol=1e-11)


def test_snr_is_the_power_ratio(schedule: NoiseSchedule) -> None:
    abar = schedule.abar[T]
    assert torch.equal(schedule.snr(T), abar / (1 - abar))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_inputs_are_computed_in_float32_and_come_back_half(
    schedule: NoiseSchedule, dtype: torch.dtype
) -> None:
    x, noise = _latents(0, dtype), _latents(1, dtype)
    x_t = schedule.noised(x, noise, T)
    assert x_t.dtype == dtype
    exact = schedule.noised(x.double(), noise.double(), T)
    assert torch.allclose(x_t.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-6)
    # 1 - abar at t = 0 is 0.00085: rounding abar to half first would make it wrong by 15 %.
    implied = schedule.noise_between(torch.zeros_like(x), x, T)
    assert torch.allclose(
        implied[0].double(), x[0].double() / math.sqrt(0.00085), rtol=2 * torch.finfo(dtype).eps
    )


def test_steps_may_have_any_order_and_repeat(schedule: NoiseSchedule) -> None:
    x, noise = _latents(0), _latents(1)
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    whole = schedule.noised(x, noise, T)
    assert torch.equal(schedule.noised(x[order], noise[order], T[order]), whole[order])


@pytest.mark.parametrize("abar", [[], [0.5, 0.6], [1.1, 0.5], [0.5, -0.1], [0.5, 0.5]])
def test_a_schedule_that_does_not_fall_is_refused(abar: list[float]) -> None:
    with pytest.raises(ValueError, match="fall strictly"):
        NoiseSchedule(torch.tensor(abar, dtype=torch.float64))


def test_a_zero_terminal_schedule_converts_velocity_to_epsilon() -> None:
    schedule = NoiseSchedule(torch.tensor([0.9, 0.5, 0.0]))
    x, v = torch.ones(1, 1, 1, 1), 3 * torch.ones(1, 1, 1, 1)
    assert schedule.epsilon_from_velocity(v, x, torch.tensor([2])).item() == 1.0


def test_scaled_linear_takes_other_lengths() -> None:
    assert len(scaled_linear(length=10)) == 10
