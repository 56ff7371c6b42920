r"""Diffusion-DPO: Wallace et al., 2311.12908, eq. 14.

    L = -E log sigma( -beta/2 [ (|eps - eps_theta|^2 - |eps - eps_ref|^2)^w
                              - (|eps - eps_theta|^2 - |eps - eps_ref|^2)^l ] )

    |.|^2 is the mean over c, h, w; both images share t and eps.

Other losses on the same logit are overrides of a run, `diffpref train sd15/dpo OVERRIDE`:

    hinge   parts.loss=hinge
    IPO     parts.loss=squared
    cDPO    'parts.loss={kind: cross_entropy, epsilon: 0.1}'
    rDPO    'parts.loss={kind: robust, epsilon: 0.1}'

Departs from the paper: beta is the released script's, which absorbs T omega(lambda_t), the
factor 1/2 and the number of latent elements.
Departs from the released code: the reference's errors are reduced in float32 (released: fp16).
"""

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import logistic
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def diffusion_dpo(kit: Toolkit, *, beta: float = 5000.0) -> PreferenceObjective[Noised]:
    """Return Diffusion-DPO; its heads (hinge, IPO, cDPO, rDPO, exo) are `parts.loss`.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2 on mean squared errors.

    Returns:
        The objective.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=latent_loglik,
        loss=logistic(beta=beta),
    )


METHOD = Method(
    build=diffusion_dpo,
    paper=Paper(
        title="Diffusion Model Alignment Using Direct Preference Optimization",
        authors=(
            "Wallace, Bram",
            "Dang, Meihua",
            "Rafailov, Rafael",
            "Zhou, Linqi",
            "Lou, Aaron",
            "Purushwalkam, Senthil",
            "Ermon, Stefano",
            "Xiong, Caiming",
            "Joty, Shafiq",
            "Naik, Nikhil",
        ),
        year=2023,
        arxiv="2311.12908",
        subject="cs.CV",
    ),
    summary="classify pairs by the denoising error's change against a reference",
    status="parity",
    reference="needed",
    data="pairs",
)
