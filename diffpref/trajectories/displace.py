r"""Moving winners along the reward's gradient before they are learnt from: TailorPO-G.

    x_s <- x_s + sigma^2 grad log p(r_high | x_s),   -log p = (r_high - r(\hat x_0(x_s)))^2
    2502.01667 (the form from a summary of the paper; its step size and r_high were not read)

Departs from it, or settles what was not read: sigma^2 is the step size, as for the guidance of a
Gaussian step (2105.05233, alg. 1); the move is no longer than `push` times the noise's own length
sigma sqrt(c h w), beyond which a winner leaves the shell that the step samples; by default r_high
is out of reach, so that the move is along grad r and exactly that long.
"""

import torch
from torch import Tensor

from diffpref.numerics import widen
from diffpref.schedule import NoiseSchedule, StepCoefficients
from diffpref.steps import State, StepPlan, predict
from diffpref.trajectories.rollout import Displace, judge
from diffpref.types import Denoiser, Latents, PerRow, Reward


def displacement(
    net: Denoiser,
    schedule: NoiseSchedule,
    reward: Reward,
    prompts: tuple[str, ...],
    *,
    plan: StepPlan,
    push: float,
    high: float | None = None,
) -> Displace:
    """Return what moves one winner per prompt; it runs with gradient even where that is off.

    One call of the network with a backward pass through it and the reward, of b rows; none for a
    noisy reward or after a plan's last step. Neither network nor reward receives a gradient.

    Args:
        net: who sampled.
        schedule: signal power by step.
        reward: must be differentiable.
        prompts: one per row.
        plan: how the net samples.
        push: longest move, in units of sigma sqrt(c h w).
        high: the reward that winners are drawn to; None is out of reach.

    Returns:
        (state at s, mu, coefficients of the step) -> moved x_s, like the state's x_t.

    Raises:
        ValueError: the reward has no gradient, or push is not above 0.
    """
    if not reward.differentiable:
        raise ValueError("displacing winners needs a differentiable reward")
    if not push > 0:
        raise ValueError(f"push must be above 0, got {push}")

    def displace(below: State, mean: Latents, move: StepCoefficients) -> Latents:
        del mean
        value, slope = _slope(net, schedule, reward, prompts, below, plan=plan)
        shape = (-1,) + (1,) * (slope.dim() - 1)
        std = move.std.to(slope)
        cap = push * std * slope[0].numel() ** 0.5
        length = slope.flatten(1).square().sum(dim=1).sqrt()
        unit = slope / length.clamp(min=torch.finfo(slope.dtype).tiny).view(shape)
        if high is None:
            return (widen(below.x_t) + cap.view(shape) * unit).to(below.x_t.dtype)
        wanted = 2 * std.square() * (high - value.to(slope)) * length
        step = torch.minimum(wanted.abs(), cap) * wanted.sign()
        return (widen(below.x_t) + step.view(shape) * unit).to(below.x_t.dtype)

    return displace


def _slope(
    net: Denoiser,
    schedule: NoiseSchedule,
    reward: Reward,
    prompts: tuple[str, ...],
    below: State,
    *,
    plan: StepPlan,
) -> tuple[PerRow, Tensor]:
    """Return each row's reward and its gradient in x_s, detached."""
    with torch.enable_grad():
        x = widen(below.x_t.detach()).requires_grad_()
        state = State(x_t=x, t=below.t, s=below.s, cond=below.cond, uncond=below.uncond)
        bare = reward.noisy or bool((below.t == plan.levels[-1][1]).all())
        eps = None if bare else predict(net, state, plan.guidance)
        value = judge(schedule, reward, state, eps, prompts, k=1)[:, 0]
        (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), slope
