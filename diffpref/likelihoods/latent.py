"""The denoising error in latent space as a surrogate log-likelihood."""

from diffpref.likelihoods.squared_error import SquaredError
from diffpref.numerics import widen
from diffpref.types import Denoiser, Latents, Noised


def latent_residual(net: Denoiser, point: Noised) -> Latents:
    """Return eps_theta - eps per row, in at least float32."""
    return widen(net(point.x_t, point.t, point.cond)) - widen(point.noise)


latent_loglik = SquaredError(residual=latent_residual)
r"""-1/2 mean (eps - eps_theta)^2 over c, h, w: log p up to scale.

Equation:
    \log p_\theta(x_{t-1} | x_t) = - w_t || \epsilon - \epsilon_\theta ||^2 + const
    (2311.12908, eq. 14, with w_t constant and absorbed by beta)

Units:
    the mean, not the sum, over c*h*w, so that beta does not depend on the resolution.
    At least float32 whatever the network's dtype.
"""
