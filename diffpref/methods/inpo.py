r"""DDIM-InPO: Lu et al., 2503.18454.

    L = -E log sigma( -beta/2 [ (|tau - eps_theta|^2 - |tau - eps_ref|^2)^w
                              - (|tau - eps_theta|^2 - |tau - eps_ref|^2)^l ] )

    x_t = DDIM inversion of x_0 by the current policy, no gradient;  tau = the noise that explains
    x_t: a convex combination of the predictions along the way. Both images share t.

Departs from the released code: x_t is read exactly at t (released: at the next level of a grid of
100, while the signal power and the network are given t; `grid: legacy` repeats it, with eta 0.1);
the network is told the level a rung leads to; no noise is added (eta 0); errors in float32.
"""

from typing import Literal

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import logistic
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.inversion import inversion
from diffpref.types import Noised

RELEASED_ETA = 0.1


def inpo(
    kit: Toolkit,
    *,
    beta: float = 5000.0,
    steps: int = 10,
    eta: float | None = None,
    eval_at: Literal["source", "target"] = "target",
    network: Literal["policy", "reference"] = "policy",
    guidance: float = 1.0,
    grid: Literal["exact", "legacy"] = "exact",
) -> PreferenceObjective[Noised]:
    """Return DDIM-InPO.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2. Published: 5000 for SDXL, 2000 for SD1.5.
        steps: rungs of the inversion over the whole schedule; its cost.
        eta: noise added while inverting; None is 0, or the released 0.1 on the legacy grid.
        eval_at: the step the network is told: the level a rung leads to, or the one it leaves (as
            the legacy grid always does). Few rungs leave too little noise, most with `target`.
        network: which network inverts; the reference's inversions can be cached.
        guidance: classifier-free guidance while inverting.
        grid: `exact`, or `legacy` for the released script's levels.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    usual = RELEASED_ETA if grid == "legacy" else 0.0
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=inversion(
            kit.schedule,
            steps=steps,
            eta=usual if eta is None else eta,
            eval_at=eval_at,
            network=network,
            guidance=guidance,
            grid=grid,
        ),
        likelihood=latent_loglik,
        loss=logistic(beta=beta),
    )


METHOD = Method(
    build=inpo,
    paper=Paper(
        title="InPO: Inversion Preference Optimization with Reparametrized DDIM for Efficient "
        "Diffusion Model Alignment",
        authors=(
            "Lu, Yunhong",
            "Wang, Qichao",
            "Cao, Hengyuan",
            "Wang, Xierui",
            "Xu, Xiaoyin",
            "Zhang, Min",
        ),
        year=2025,
        arxiv="2503.18454",
        subject="cs.CV",
    ),
    summary="Diffusion-DPO at latents inverted by the policy instead of noised at random",
    status="parity",
    reference="needed",
    data="pairs",
)
