r"""Diffusion-SDPO: Fu et al., 2511.03317. Diffusion-DPO that protects its winners.

    L: Diffusion-DPO's; the loser's gradient is multiplied by
    lambda = clip( (1 - mu) |R_w|^2 / <R_l, R_w>, 0, 1 ) where <R_l, R_w> > 0, else 1
    R = eps_theta - eps; both images share t and eps

    The guard itself is `parts.guard: {kind: winner, mu: 0.9}` and goes with any pair method.

Departs from the released code: lambda is per pair (released: one per micro-batch of a device;
`per: batch` has it per window of a process); closed form instead of autograd; errors in float32.
"""

from typing import Literal

from diffpref.guards import winner
from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import logistic
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def sdpo(
    kit: Toolkit,
    *,
    beta: float = 5000.0,
    mu: float = 0.9,
    per: Literal["pair", "batch"] = "pair",
) -> PreferenceObjective[Noised]:
    """Return Diffusion-SDPO.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2.
        mu: how safe the winner is kept. Published: 0.9 for SD1.5, 0.6 for SDXL.
        per: what one lambda is computed over.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=latent_loglik,
        loss=logistic(beta=beta),
        guard=winner(mu=mu, per_batch=per == "batch"),
    )


METHOD = Method(
    build=sdpo,
    paper=Paper(
        title="Diffusion-SDPO: Safeguarded Direct Preference Optimization for Diffusion Models",
        authors=(
            "Fu, Minghao",
            "Wang, Guo-Hua",
            "Cui, Tianyu",
            "Chen, Qing-Guo",
            "Xu, Zhao",
            "Luo, Weihua",
            "Zhang, Kaifu",
        ),
        year=2025,
        arxiv="2511.03317",
        subject="cs.CV",
    ),
    summary="Diffusion-DPO whose loser cannot push the winner's error up",
    status="equation",
    reference="needed",
    data="pairs",
)
