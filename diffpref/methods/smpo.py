r"""SmPO-Diffusion: Lu et al., 2506.02698.

    L = -E log sigma( -beta/2 gamma (2 p - 1) [ (|tau - eps_theta|^2 - |tau - eps_ref|^2)^w
                                              - (|tau - eps_theta|^2 - |tau - eps_ref|^2)^l ] )

    p = softmax of the pair's min-max normalised scores; x_t, tau by ReNoise inversion of x_0 with
    the current policy: every prediction is averaged with one more, made where the first led.

The label scales the logit (a per-pair strength); it is no label smoothing.

Departs from the released code: labels are per pair (released: the first pair's for its whole
batch); x_t is read exactly at t, and the network is told the level a rung leads to (released: a
grid of 100 or 200, told the level it leaves; `grid: legacy` repeats it); errors in float32.
"""

from typing import Literal

from diffpref.labels import smoothed
from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import logistic
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.inversion import inversion
from diffpref.types import Noised


def smpo(
    kit: Toolkit,
    *,
    beta: float = 5000.0,
    gamma: float = 10.0,
    steps: int = 10,
    iters: int = 1,
    eval_at: Literal["source", "target"] = "target",
    network: Literal["policy", "reference"] = "policy",
    grid: Literal["exact", "legacy"] = "exact",
    low: float = 0.0,
    high: float = 1.0,
) -> PreferenceObjective[Noised]:
    """Return SmPO.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2. Published: 5000 for SDXL, 2000 for SD1.5.
        gamma: what 2 p - 1 is multiplied by.
        steps: rungs of the inversion; published 10 for SDXL, 5 for SD1.5.
        iters: extra predictions per rung, weighed equally.
        eval_at: the step the network is told; the legacy grid is always at the source.
        network: which network inverts; the reference's inversions can be cached.
        grid: `exact`, or `legacy` for the released script's levels.
        low: smallest score of the whole data set. A label table's scores are normalised already:
            0 and 1. Published for PickScore's cosine: 0.11543526500463486.
        high: largest score of the whole data set. Published: 0.28201571106910706.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    if not gamma > 0:
        raise ValueError(f"gamma must be above 0, got {gamma}")
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=inversion(
            kit.schedule, steps=steps, iters=iters, eval_at=eval_at, network=network, grid=grid
        ),
        likelihood=latent_loglik,
        loss=logistic(beta=beta * gamma),
        label=smoothed(low=low, high=high),
    )


METHOD = Method(
    build=smpo,
    paper=Paper(
        title="Smoothed Preference Optimization via ReNoise Inversion for Aligning Diffusion "
        "Models with Varied Human Preferences",
        authors=("Lu, Yunhong", "Wang, Qichao", "Cao, Hengyuan", "Xu, Xiaoyin", "Zhang, Min"),
        year=2025,
        arxiv="2506.02698",
        subject="cs.CV",
    ),
    summary="inverted latents, and labels smoothed by a reward's scores",
    status="parity",
    reference="needed",
    data="pairs",
)
