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

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.numerics import widen
from diffpref.schedule import NoiseSchedule
from diffpref.steps import StepPlan
from diffpref.types import Latents, PerRow, Steps

StepWeight = Literal["exact", "flat", "guidance"]
"""exact: b / sigma; flat: its median over the plan's steps, of every step; guidance:
-2 g sqrt(1 - abar_t), GradSPO's, at g = 1/2."""

HALF = 0.5


def gains(schedule: NoiseSchedule, t: Steps, s: Steps, *, eta: float) -> Float[Tensor, " n"]:
    """Return g = b / sigma of each step, in float64; minus infinity where sigma is 0."""
    move = schedule.transition(t, s, eta=eta)
    return move.noise / move.std


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
    """
    if kind == "exact":
        return gains(schedule, t, s, eta=plan.eta)
    if kind == "guidance":
        return -2 * HALF * (1 - schedule.at(t)).sqrt()
    visited = torch.tensor(plan.levels, device=t.device)
    every = gains(schedule, visited[:, 0], visited[:, 1], eta=plan.eta)
    return every[every.isfinite()].quantile(0.5).expand(len(t))


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


def step_kl(gain: Float[Tensor, " n"], policy: Latents, reference: Latents) -> PerRow:
    """Return KL(pi | pi_ref) of a step per element."""
    delta = (widen(policy) - widen(reference)).flatten(1)
    return 0.5 * gain.to(delta).square() * delta.square().mean(dim=1)
