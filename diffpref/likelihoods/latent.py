"""The denoising error in latent space as a surrogate log-likelihood."""

from diffpref.numerics import widen
from diffpref.types import Denoiser, Latents, Measure, Noised, PerRow


def latent_residual(net: Denoiser, point: Noised) -> Latents:
    """Return eps_theta - eps per row, in at least float32."""
    return widen(net(point.x_t, point.t, point.cond)) - widen(point.noise)


def residual_loglik(residual: Measure) -> PerRow:
    """Return -1/2 the mean square of each row's residual."""
    return -0.5 * residual.flatten(1).square().mean(dim=1)


def latent_loglik(net: Denoiser, point: Noised) -> PerRow:
    r"""Return -1/2 mean (eps - eps_theta)^2 over c, h, w: log p up to scale.

    Equation:
        \log p_\theta(x_{t-1} | x_t) = - w_t || \epsilon - \epsilon_\theta ||^2 + const
        (2311.12908, eq. 14, with w_t constant and absorbed by beta)

    Units:
        the mean, not the sum, over c*h*w, so that beta does not depend on the resolution.
        At least float32 whatever the network's dtype.
    """
    return residual_loglik(latent_residual(net, point))
