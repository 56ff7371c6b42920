"""The denoising error seen through a frozen network: noise-conditioned perception."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.draws import Draws
from diffpref.likelihoods.squared_error import SquaredError
from diffpref.numerics import widen
from diffpref.schedule import NoiseSchedule
from diffpref.types import Denoiser, Latents, MakeEmbedder, Measure, Noised, Steps

Layer = Literal["down", "mid"]


def perceptual(
    schedule: NoiseSchedule,
    embedder: MakeEmbedder,
    *,
    layer: Layer = "down",
    normalise: bool = False,
) -> SquaredError[Noised]:
    r"""Compare features of one sampler step with the predicted and with the true noise: NCP.

    Equation:
        -1/2 mean ( f(\hat x_{t-1}, t-1, c) - f(x*_{t-1}, t-1, c) )^2
        \hat x_{t-1}: a DDPM posterior step from x_t with \epsilon_\theta; x*: with the target's
        \epsilon; the same variance noise z for both, for policy, reference and all images of a
        prompt                                                   (2406.17636, section 4)

    \hat x - x* = -c_t (\epsilon_\theta - \epsilon), so that the error carries a weight c_t^2 that
    spans a factor of 25 over t, least around t = 200.

    Args:
        schedule: the base model's noise schedule.
        embedder: makes f, a frozen copy of the base's down stack; called now, while it is the base.
        layer: f ends after the down blocks, or after the middle block.
        normalise: divide the residual by c_t, which takes that weight out.

    Returns:
        A likelihood; measuring a row costs one UNet pass and two passes of f, the policy's
        backward goes through one of them.

    Units:
        the mean over the feature map; at least float32. Feature differences lie near float16's
        resolution, so f computes in float32.
    """
    features = embedder(layer)

    def extend(point: Noised, draws: Draws) -> Noised:
        k = len(point) // len(point.score)
        z = draws.normal("step noise", tuple(point.x_t.shape[1:])).repeat_interleave(k, dim=0)
        return replace(point, step_noise=z.to(point.noise))

    def residual(net: Denoiser, point: Noised) -> Measure:
        eps = widen(net(point.x_t, point.t, point.cond))
        guess = _stepped(schedule, point, eps)
        with torch.no_grad():
            truth = features(_stepped(schedule, point, widen(point.noise)), point.t - 1, point.cond)
        apart = widen(features(guess, point.t - 1, point.cond)) - widen(truth)
        if normalise:
            apart = apart / step_gain(schedule, point.t).to(apart)
        return apart

    return SquaredError(residual=residual, extend=extend)


def step_gain(schedule: NoiseSchedule, t: Steps) -> Float[Tensor, "n 1 1 1"]:
    r"""Return c_t = (1 - \alpha_t) / (\sqrt{\alpha_t} \sqrt{1 - \bar a_t})."""
    now, before = schedule.at(t), schedule.at(t - 1)
    alpha = now / before
    return ((1 - alpha) / (alpha.sqrt() * (1 - now).sqrt())).view(-1, 1, 1, 1)


def _stepped(schedule: NoiseSchedule, point: Noised, eps: Latents) -> Latents:
    """Return x_{t-1} of a DDPM posterior step, with the point's own variance noise."""
    if point.step_noise is None:
        raise ValueError("the point has no step noise: draw it with this likelihood's objective")
    signal, noise, std = (
        each.to(eps).view(-1, 1, 1, 1)
        for each in schedule.transition(point.t, point.t - 1, eta=1.0)
    )
    return signal * widen(point.x_t) + noise * eps + std * point.step_noise
