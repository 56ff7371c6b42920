"""The step kernel against Gaussian densities, the stock DDIM step, and half precision."""

from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor
from torch.distributions import Normal

from diffpref import kernel
from diffpref.schedule import NoiseSchedule, scaled_linear
from diffpref.steps import StepPlan
from diffpref.strength import StepStrength
from diffpref.trajectories.stepping import mean_of

LEVELS = tuple((1 + 50 * i, max(0, 50 * i - 49)) for i in range(19, -1, -1))
"""Stable Diffusion's 20 steps: 'leading' spacing, offset 1, the last step to 0."""

# METHODS_ONLINE_PERSONAL.md, table 1.3, where the second row has .852 for .8515 at t = 501.
EXACT = [
    0.853, 0.814, 0.778, 0.745, 0.716, 0.689, 0.667, 0.649, 0.635, 0.626,
    0.623, 0.626, 0.636, 0.657, 0.693, 0.754, 0.868, 1.141, 5.431, 1.003,
]  # fmt: skip
GUIDANCE = [
    0.996, 0.993, 0.988, 0.982, 0.972, 0.958, 0.940, 0.917, 0.887, 0.851,
    0.809, 0.760, 0.704, 0.641, 0.573, 0.498, 0.417, 0.327, 0.222, 0.041,
]  # fmt: skip


def _steps(*pairs: tuple[int, int]) -> tuple[Tensor, Tensor]:
    t, s = torch.tensor(pairs).T
    return t, s


def _noise(seed: int, *shape: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def _density(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return log N(x; mean, std^2) per element."""
    return Normal(mean, std.view(-1, 1, 1, 1)).log_prob(x).flatten(1).mean(dim=1)


class Drawn:
    """Two candidates of one state, sampled by neither the policy nor the reference."""

    def __init__(self, schedule: NoiseSchedule, t: Tensor, s: Tensor, eta: float) -> None:
        shape = (len(t), 4, 6, 6)
        self.x_t, self.ref, self.old = (_noise(i, *shape) for i in range(3))
        self.policy = self.ref + 0.1 * _noise(3, *shape)
        self.move = schedule.transition(t, s, eta=eta)
        self.std = self.move.std.view(-1, 1, 1, 1)
        self.z_w, self.z_l = _noise(4, *shape), _noise(5, *shape)
        mean = mean_of(self.move, self.x_t, self.old)
        self.x_w, self.x_l = mean + self.std * self.z_w, mean + self.std * self.z_l

    def ratio(self, x: Tensor) -> Tensor:
        """Return log pi / pi_ref from the densities."""
        ours, theirs = (mean_of(self.move, self.x_t, eps) for eps in (self.policy, self.ref))
        return _density(x, ours, self.move.std) - _density(x, theirs, self.move.std)


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("step", [LEVELS[0], LEVELS[9], LEVELS[-1]], ids=str)
def test_the_pair_logit_is_the_difference_of_gaussian_log_densities(
    schedule: NoiseSchedule, step: tuple[int, int], eta: float
) -> None:
    t, s = _steps(step, step)
    drawn = Drawn(schedule, t, s, eta)
    gain = kernel.gains(schedule, t, s, eta=eta)
    ours = kernel.pair_logit(gain, drawn.z_w - drawn.z_l, drawn.policy, drawn.ref)
    theirs = drawn.ratio(drawn.x_w) - drawn.ratio(drawn.x_l)
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=0)


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("step", [LEVELS[0], LEVELS[9], LEVELS[-1]], ids=str)
def test_a_velocity_network_has_the_same_logit_with_its_own_gain(
    schedule: NoiseSchedule, step: tuple[int, int], eta: float
) -> None:
    t, s = _steps(step, step)
    drawn = Drawn(schedule, t, s, eta)
    v, v_ref = (
        schedule.velocity_from_epsilon(eps, drawn.x_t, t) for eps in (drawn.policy, drawn.ref)
    )
    gain = kernel.gains(schedule, t, s, eta=eta) * schedule.at(t).sqrt()
    ours = kernel.pair_logit(gain, drawn.z_w - drawn.z_l, v, v_ref)
    theirs = drawn.ratio(drawn.x_w) - drawn.ratio(drawn.x_l)
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=0)


@pytest.mark.parametrize("t", [0.95, 0.5, 0.1])
def test_the_step_of_a_flow_has_the_same_logit_with_its_own_gain(t: float) -> None:
    """Flow-GRPO's stochastic step: mu = x + dt (v + s^2 / 2t (x + (1 - t) v)), noise s sqrt|dt|."""
    shape, dt, spread = (2, 4, 6, 6), -0.05, 0.7 * (t / (1 - t)) ** 0.5
    x, v_ref = _noise(0, *shape), _noise(1, *shape)
    v = v_ref + 0.1 * _noise(2, *shape)
    std = torch.full((2,), spread * abs(dt) ** 0.5, dtype=torch.float64)

    def mean(velocity: Tensor) -> Tensor:
        return x + dt * (velocity + spread**2 / (2 * t) * (x + (1 - t) * velocity))

    z_w, z_l = _noise(3, *shape), _noise(4, *shape)
    wide = std.view(-1, 1, 1, 1)
    ratios = [
        _density(sample, mean(v), std) - _density(sample, mean(v_ref), std)
        for sample in (mean(v_ref) + wide * z_w, mean(v_ref) + wide * z_l)
    ]
    gain = dt * (1 + spread**2 * (1 - t) / (2 * t)) / std
    ours = kernel.pair_logit(gain, z_w - z_l, v, v_ref)
    assert torch.allclose(ours, ratios[0] - ratios[1], rtol=1e-9, atol=0)


@pytest.mark.parametrize("step", [LEVELS[0], LEVELS[9], LEVELS[-1]], ids=str)
def test_log_ratios_and_the_kl_are_those_of_the_densities(
    schedule: NoiseSchedule, step: tuple[int, int]
) -> None:
    t, s = _steps(step, step)
    drawn = Drawn(schedule, t, s, 1.0)
    gain = kernel.gains(schedule, t, s, eta=1.0)
    ours, theirs = (mean_of(drawn.move, drawn.x_t, eps) for eps in (drawn.policy, drawn.ref))
    ratio = kernel.log_ratio(gain, (drawn.x_w - theirs) / drawn.std, drawn.policy, drawn.ref)
    assert torch.allclose(ratio, drawn.ratio(drawn.x_w), rtol=1e-9, atol=0)
    by_means = kernel.log_ratio_of_means(drawn.move, drawn.x_w, ours, theirs)
    assert torch.allclose(by_means, ratio, rtol=1e-9, atol=0)
    exact = torch.distributions.kl_divergence(Normal(ours, drawn.std), Normal(theirs, drawn.std))
    kl = kernel.step_kl(gain, drawn.policy, drawn.ref)
    assert torch.allclose(kl, exact.flatten(1).mean(dim=1), rtol=1e-9, atol=0)


def test_an_unmoved_policy_has_no_logit_no_ratio_and_no_kl(schedule: NoiseSchedule) -> None:
    t, s = _steps(*LEVELS)
    drawn, gain = Drawn(schedule, t, s, 1.0), kernel.gains(schedule, t, s, eta=1.0)
    mean = mean_of(drawn.move, drawn.x_t, drawn.ref)
    assert kernel.pair_logit(gain, drawn.z_w, drawn.ref, drawn.ref).abs().max() == 0
    assert kernel.log_ratio(gain, drawn.z_w, drawn.ref, drawn.ref).abs().max() == 0
    assert kernel.log_ratio_of_means(drawn.move, drawn.x_w, mean, mean).abs().max() == 0
    assert kernel.step_kl(gain, drawn.ref, drawn.ref).abs().max() == 0


def test_winner_and_loser_swapped_is_the_logit_with_its_sign_changed_exactly(
    schedule: NoiseSchedule,
) -> None:
    t, s = _steps(*LEVELS)
    drawn, gain = Drawn(schedule, t, s, 1.0), kernel.gains(schedule, t, s, eta=1.0)
    one = kernel.pair_logit(gain, drawn.z_w - drawn.z_l, drawn.policy, drawn.ref)
    other = kernel.pair_logit(gain, drawn.z_l - drawn.z_w, drawn.policy, drawn.ref)
    assert torch.equal(one, -other)


def test_the_coefficients_are_those_of_the_stock_ddim_step() -> None:
    stock: Any = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )
    stock.set_timesteps(20)
    assert stock.timesteps.tolist() == [t for t, _ in LEVELS]
    # Its own table is a float32 product; the formulas are compared on an exact one.
    beta = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    exact = (1 - beta).cumprod(0)
    assert torch.allclose(stock.alphas_cumprod.double(), exact, rtol=2e-5)
    stock.alphas_cumprod, stock.final_alpha_cumprod = exact, exact[0]
    x_t, eps, z = (_noise(i, 1, 4, 6, 6) for i in range(3))
    for pair in LEVELS:
        t, s = _steps(pair)
        move = scaled_linear().transition(t, s, eta=1.0)
        none = stock.step(eps, pair[0], x_t, eta=1.0, variance_noise=torch.zeros_like(z))
        noisy = stock.step(eps, pair[0], x_t, eta=1.0, variance_noise=z)
        mean = mean_of(move, x_t, eps)
        assert torch.allclose(mean, none.prev_sample, rtol=0, atol=1e-9)
        sampled = mean + move.std.view(-1, 1, 1, 1) * z
        assert torch.allclose(sampled, noisy.prev_sample, rtol=0, atol=1e-9)


def test_the_gains_of_stable_diffusions_twenty_steps(schedule: NoiseSchedule) -> None:
    t, s = _steps(*LEVELS)
    plan = StepPlan(levels=LEVELS)
    exact = kernel.weights(schedule, t, s, plan, "exact")
    guidance = kernel.weights(schedule, t, s, plan, "guidance")
    flat = kernel.weights(schedule, t, s, plan, "flat")
    assert (-exact).tolist() == pytest.approx(EXACT, abs=5.1e-4)
    assert (-guidance).tolist() == pytest.approx(GUIDANCE, abs=5.1e-4)
    middle = sorted(EXACT)[9:11]
    assert (-flat).tolist() == pytest.approx([sum(middle) / 2] * 20, abs=1e-3)


def test_the_spike_moves_with_the_spacing(schedule: NoiseSchedule) -> None:
    """With 'trailing' spacing it is the last step's, which is left out by default."""
    trailing = [(999 - 50 * i, max(0, 949 - 50 * i)) for i in range(20)]
    found = -kernel.gains(schedule, *_steps(*trailing), eta=1.0)
    assert found.argmax() == 19
    assert found[:19].max() < 1.2


def test_a_step_without_noise_is_refused(schedule: NoiseSchedule) -> None:
    for pair, eta in (((501, 451), 0.0), ((1, -1), 1.0)):
        with pytest.raises(ValueError, match="without noise"):
            kernel.gains(schedule, *_steps(pair), eta=eta)
    still = StepPlan(levels=((501, 451),), eta=0.0)
    with pytest.raises(ValueError, match="eta above 0"):
        kernel.weights(schedule, *_steps((501, 451)), still, "flat")
    ends = StepPlan(levels=((501, 1), (1, -1)))
    flat = kernel.weights(schedule, *_steps((501, 1)), ends, "flat")
    assert flat.tolist() == kernel.gains(schedule, *_steps((501, 1)), eta=1.0).tolist()


def test_ratios_are_held_and_have_no_gradient_outside() -> None:
    ratio = torch.tensor([-0.2, -0.05, 0.0, 0.09, 0.2], dtype=torch.float64, requires_grad=True)
    value, outside = kernel.held(ratio, 0.1)
    value.sum().backward()
    assert ratio.grad is not None
    assert ratio.grad.tolist() == [0, 1, 1, 1, 0]
    assert outside.tolist() == [1, 0, 0, 0, 1]
    assert value.exp().tolist() == pytest.approx(
        [0.9, torch.tensor(-0.05).exp().item(), 1, torch.tensor(0.09).exp().item(), 1.1]
    )


@pytest.mark.parametrize(
    ("numel", "expected"), [(16384, 6.1e-4), (65536, 1.5e-4)], ids=["SD1.5", "SDXL"]
)
def test_beta_on_means_and_on_sums(numel: int, expected: float) -> None:
    strength = StepStrength(beta=10.0)
    assert strength.sum(numel) == pytest.approx(expected, rel=0.02)
    assert StepStrength.from_sum(strength.sum(numel), numel=numel).beta == pytest.approx(10.0)
    assert f"over {numel} latent elements" in strength.header(numel)


# Half precision: RMS of the difference, its cosine to dz -> error of ours and of the naive form,
# per dtype, as measured for the design page (medians, section 1.1).
ROWS: list[tuple[float, float]] = [(1e-2, 0.05), (1e-3, 0.05), (1e-2, 0.0), (1e-3, 0.0)]
DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def _naive(x: Tensor, means: tuple[Tensor, Tensor], std: float) -> Tensor:
    """Return the log ratio as the difference of two log-densities: the counter-example."""
    ours, theirs = (-(x - mean).square().mean() / (2 * std * std) for mean in means)
    return ours - theirs


def _errors(
    schedule: NoiseSchedule, rms: float, cos: float, dtype: torch.dtype, seed: int
) -> tuple[float, float]:
    """Return relative errors of the pair logit, ours and naive, for outputs rounded to dtype.

    The naive form has also the step itself, means and samples, in dtype, as the released scripts
    do; its reductions are float32 as ours. What the table calls cosine 0 is a random direction,
    of cosine about 1 / sqrt(16384).
    """
    t, s = _steps((501, 451))
    move, gain = schedule.transition(t, s, eta=1.0), kernel.gains(schedule, t, s, eta=1.0)
    shape = (1, 4, 64, 64)
    x_t, ref, side, z_w, z_l = (_noise(10 * seed + i, *shape) for i in range(5))
    dz = z_w - z_l
    unit = dz / dz.norm()
    across = side - (side * unit).sum() * unit if cos else side
    across = across / across.norm()
    delta = cos * unit + (1 - cos * cos) ** 0.5 * across
    policy = ref + delta * rms * delta.numel() ** 0.5
    truth = kernel.pair_logit(gain, dz, policy, ref)
    seen, base = (eps.to(dtype).float() for eps in (policy, ref))
    ours = kernel.pair_logit(gain, dz.float(), seen, base)
    means = tuple(mean_of(move, x_t.float(), eps).to(dtype).float() for eps in (seen, base))
    start, std = mean_of(move, x_t, ref), float(move.std)
    x_w, x_l = ((start + std * z).to(dtype).float() for z in (z_w, z_l))
    naive = _naive(x_w, means, std) - _naive(x_l, means, std)
    return tuple(abs((value.double() - truth) / truth).item() for value in (ours, naive))


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rms", "cos"), ROWS)
def test_the_closed_form_is_nearer_than_the_difference_of_densities_in_half_precision(
    schedule: NoiseSchedule, rms: float, cos: float, dtype: torch.dtype
) -> None:
    found = [_errors(schedule, rms, cos, dtype, seed) for seed in range(21)]
    ours, naive = (_median([pair[i] for pair in found]) for i in range(2))
    assert ours < naive
    if (rms, cos) == ROWS[0]:
        limit = {torch.float16: 0.01, torch.bfloat16: 0.05, torch.float32: 1e-6}[dtype]
        assert ours <= limit


def test_wholly_in_half_precision_the_difference_of_densities_is_noise(
    schedule: NoiseSchedule,
) -> None:
    """Why reductions are float32: everything in float16 is wrong by more than the logit itself."""
    t, s = _steps((501, 451))
    move, gain = schedule.transition(t, s, eta=1.0), kernel.gains(schedule, t, s, eta=1.0)
    worst = 0.0
    for seed in range(20):
        x_t, ref, side, z_w, z_l = (_noise(10 * seed + i, 1, 4, 64, 64) for i in range(5))
        policy = ref + 1e-2 * side
        truth = kernel.pair_logit(gain, z_w - z_l, policy, ref).item()
        means = tuple(mean_of(move, x_t, eps).half() for eps in (policy, ref))
        std = float(move.std)
        x_w, x_l = ((mean_of(move, x_t, ref) + std * z).half() for z in (z_w, z_l))
        naive = (_naive(x_w, means, std) - _naive(x_l, means, std)).item()
        worst = max(worst, abs(naive - truth) / abs(truth))
    assert worst > 1
