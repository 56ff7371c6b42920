r"""DMPO: divergence minimisation, Li et al., 2507.07510.

    L = E [ p log(p / (1 - alpha)) + (1 - p) log((1 - p) / alpha) ],   p = sigma(u)

    u as in Diffusion-DPO: the reverse KL from the policy's preference to the smoothed label, with
    a finite optimum at p = 1 - alpha. The head is `parts.loss: exo`.

Departs from the released code: errors in float32.
"""

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import exo
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def dmpo(
    kit: Toolkit,
    *,
    beta: float = 2000.0,
    alpha: float = 0.01,
) -> PreferenceObjective[Noised]:
    """Return DMPO.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2. Published: 2000 for SD1.5, 6000 for SDXL.
        alpha: smoothing of the label.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=latent_loglik,
        loss=exo(beta=beta, alpha=alpha),
    )


METHOD = Method(
    build=dmpo,
    paper=Paper(
        title="Divergence Minimization Preference Optimization for Diffusion Model Alignment",
        authors=(
            "Li, Binxu",
            "Xu, Minkai",
            "Han, Jiaqi",
            "Dang, Meihua",
            "Ermon, Stefano",
        ),
        year=2025,
        arxiv="2507.07510",
        subject="cs.CV",
    ),
    summary="Diffusion-DPO with the reverse KL in place of the sigmoid loss",
    status="equation",
    reference="needed",
    data="pairs",
)
