r"""Stage C's continuous time r in [0, 1] as the steps t = 0..T-1 that everything here counts in.

    \bar a(r) = cos^2( (r + s) / (1 + s) \pi/2 ) / cos^2( s / (1 + s) \pi/2 ),   s = 0.008

clamped to [1e-4, 0.9999], as diffusers' DDPMWuerstchenScheduler has it. The published training
tells the network the r that belongs to the clamped power, so r ends where clamping begins; the T
steps are spread evenly over what is left, 0.002 to 0.994, on which the power falls strictly.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.schedule import NoiseSchedule

S = 0.008
LEAST, MOST = 1e-4, 0.9999
STEPS = 1000
_START = math.cos(S / (1 + S) * math.pi / 2) ** 2


def power_of(ratio: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the signal power at r, unclamped, in float64."""
    return ((ratio.double() + S) / (1 + S) * math.pi / 2).cos().square() / _START


def ratio_of(power: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the r at which the signal power is this; 1, the clean level, is 0."""
    angle = (power * _START).sqrt().acos()
    return (angle / (math.pi / 2) * (1 + S) - S).clamp(min=0)


def stage_c_schedule(steps: int = STEPS) -> NoiseSchedule:
    """Return the schedule of `steps` steps."""
    ends = ratio_of(torch.tensor([MOST, LEAST], dtype=torch.float64))
    ratios = torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64)
    return NoiseSchedule(abar=power_of(ratios))
