r"""The step kernel: what two networks say about one sampled step, without cancellation.

Both share x_t, so their means differ by b (eps_theta - eps_ref), and with the gain g = b / sigma

    log pi_theta(x_s) / pi_ref(x_s) = g <z_ref, d> - g^2 / 2 |d|^2,   z_ref = (x_s - mu_ref) / sigma
    KL(pi_theta | pi_ref)           = g^2 / 2 |d|^2,                  d = eps_theta - eps_ref

and for two candidates x^w, x^l of the same state the squares cancel:

    log ratio(x^w) - log ratio(x^l) = g <z^w - z^l, d>,   z^w - z^l = (x^w - x^l) / sigma

which is exact whatever the policy was when it sampled, and needs one call of each network per
pair. b is negative: the prediction moves against z^w - z^l, the clean image towards the winner.
Inner products and squares are *means* over c, h, w (beta_mean = c h w x beta_sum), as the released
DDIM-policy scripts have them. Derivations: METHODS_ONLINE_PERSONAL.md, section 1 (ours).
"""

from math import log
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.numerics import widen
from diffpref.schedule import NoiseSchedule, StepCoefficients
from diffpref.steps import StepPlan
from diffpref.types import Latents, PerRow, Steps

StepWeight = Literal["exact", "flat", "guidance"]
"""exact: b / sigma; flat: its median over the plan's steps, of every step; guidance:
-2 g sqrt(1 - abar_t), GradSPO's, at g = 1/2."""

HALF = 0.5


def gains(schedule: NoiseSchedule, t: Steps, s: Steps, *, eta: float) -> Float[Tensor, " n"]:
    """Return g = b / sigma of each step, in float64.

    A ValueError says that a step has no noise, so that nothing it samples has a likelihood.
    """
    found = _gains(schedule, t, s, eta=eta)
    if not bool(found.isfinite().all()):
        raise ValueError(
            "a step without noise has no likelihood: sample with eta above 0 and leave out the "
            "step to the clean level"
        )
    return found


def weights(
    schedule: NoiseSchedule, t: Steps, s: Steps, plan: StepPlan, kind: StepWeight
) -> Float[Tensor, " n"]:
    """Return what stands for the gain in a pair's logit; negative, in float64.

    Args:
        schedule: signal power by step.
        t: level of x_t.
        s: level of x_s.
        plan: how steps were sampled; `flat` takes the median over it.
        kind: exact is the log ratio; flat and guidance weigh the steps otherwise.

    Returns:
        One factor per row.

    Raises:
        ValueError: the steps have no noise.
    """
    if kind == "exact":
        return gains(schedule, t, s, eta=plan.eta)
    if kind == "guidance":
        return -2 * HALF * (1 - schedule.at(t)).sqrt()
    visited = torch.tensor(plan.levels, device=t.device)
    every = _gains(schedule, visited[:, 0], visited[:, 1], eta=plan.eta)
    noisy = every[every.isfinite()]
    if not len(noisy):
        raise ValueError("no step of the plan has noise: sample with eta above 0")
    return noisy.quantile(0.5).expand(len(t))


def pair_logit(
    gain: Float[Tensor, " n"], dz: Latents, policy: Latents, reference: Latents
) -> PerRow:
    """Return gain x mean(dz x (policy - reference)): the log ratio of two candidates of a state."""
    product = (widen(dz) * (widen(policy) - widen(reference))).flatten(1).mean(dim=1)
    return gain.to(product) * product


def log_ratio(gain: Float[Tensor, " n"], z: Latents, policy: Latents, reference: Latents) -> PerRow:
    """Return log pi / pi_ref of a step per element, z = (x_s - mu_ref) / sigma."""
    delta = (widen(policy) - widen(reference)).flatten(1)
    g = gain.to(delta)
    return g * (widen(z).flatten(1) * delta).mean(dim=1) - step_kl(gain, policy, reference)


def log_ratio_of_means(
    move: StepCoefficients, x_s: Latents, policy: Latents, sampler: Latents
) -> PerRow:
    """Return log pi / pi_old of a sampled step per element, from the means mu of both."""
    std = move.std.to(widen(policy)).view(-1, 1, 1, 1)
    base = widen(sampler).to(std)
    delta = ((widen(policy) - base) / std).flatten(1)
    z = ((widen(x_s).to(std) - base) / std).flatten(1)
    return (z * delta).mean(dim=1) - 0.5 * delta.square().mean(dim=1)


def held(ratio: PerRow, clamp: float | None) -> tuple[PerRow, PerRow]:
    """Return log ratios held to ratios in [1 - clamp, 1 + clamp], and which were outside (1, 0).

    A ratio outside has no gradient; None holds nothing.
    """
    if clamp is None:
        return ratio, torch.zeros_like(ratio.detach())
    low, high = log(1 - clamp), log(1 + clamp)
    outside = ((ratio < low) | (ratio > high)).to(ratio.dtype)
    return ratio.clamp(low, high), outside


def check_clamp(clamp: float | None) -> None:
    """Raise ValueError unless ratios can be held to 1 +- clamp."""
    if clamp is not None and not 0 < clamp < 1:
        raise ValueError(f"clamp must be above 0 and below 1, got {clamp}")


def step_kl(gain: Float[Tensor, " n"], policy: Latents, reference: Latents) -> PerRow:
    """Return KL(pi | pi_ref) of a step per element."""
    delta = (widen(policy) - widen(reference)).flatten(1)
    return 0.5 * gain.to(delta).square() * delta.square().mean(dim=1)


def _gains(schedule: NoiseSchedule, t: Steps, s: Steps, *, eta: float) -> Float[Tensor, " n"]:
    move = schedule.transition(t, s, eta=eta)
    return move.noise / move.std
