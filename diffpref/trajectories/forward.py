"""Forward noise: x_t drawn from q(x_t | x_0)."""

from jaxtyping import Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.schedule import NoiseSchedule
from diffpref.types import Nets, Noised, PreferenceBatch, Trajectory


def forward(schedule: NoiseSchedule, *, shared: bool = True) -> Trajectory[PreferenceBatch, Noised]:
    r"""Noise every image of a prompt to the prompt's step.

    Equation:
        x_t = \sqrt{\bar a_t} x_0 + \sqrt{1 - \bar a_t} \epsilon     (2006.11239, eq. 4)

    Args:
        schedule: the base model's noise schedule.
        shared: whether the images of a prompt share one noise, as Diffusion-DPO's do
            (2311.12908, pseudo-code); otherwise each has its own, as in RankDPO.

    Returns:
        A trajectory to `Noised` points; it calls no network.
    """

    def trajectory(
        nets: Nets, batch: PreferenceBatch, t: Int[Tensor, " b"], draws: Draws
    ) -> Noised:
        del nets
        x_0 = batch.latents.flatten(0, 1)
        k, shape = batch.latents.shape[1], tuple(x_0.shape[1:])
        if shared:
            noise = draws.normal("noise", shape).repeat_interleave(k, dim=0)
        else:
            noise = draws.normal("noise", shape, images=k).flatten(0, 1)
        noise, rows = noise.to(x_0), t.to(x_0.device).repeat_interleave(k)
        return Noised(
            x_t=schedule.noised(x_0, noise, rows),
            t=rows,
            noise=noise,
            cond=batch.row_cond(),
            score=batch.score,
            weight=batch.weight,
        )

    return trajectory
