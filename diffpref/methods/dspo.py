r"""DSPO: direct score preference optimisation, Zhu et al., ICLR 2025, as its scripts compute it.

    score:  L = E mean ( (eps_theta - eps)^w - beta sigma(-u) (eps_theta - eps_ref)^w )^2
    switch: L = E sigma(-u)^2, times mean ((eps_theta - eps_ref)^w)^2 where that is at least 0.1

    u as in Diffusion-DPO with this beta. `score` is the SD1.5 script: at its beta the loser enters
    at order beta^2 only, so it is fine-tuning on the preferred image with a slight push off the
    reference. `switch` is the SDXL script: a Brier loss of the preference until the policy is far.

Departs from the paper: the losses are those of the scripts.
Departs from the released code: the switch is decided per pair (released: per micro-batch); errors
in float32.
"""

from typing import Literal

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import score_matching
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def dspo(
    kit: Toolkit,
    *,
    beta: float = 0.01,
    branch: Literal["score", "switch"] = "score",
) -> PreferenceObjective[Noised]:
    """Return DSPO.

    Args:
        kit: the run's toolkit.
        beta: published 0.001 to 0.05 for `score`, 1000 to 5000 for `switch`.
        branch: which script.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=latent_loglik,
        loss=score_matching(beta=beta, branch=branch),
    )


METHOD = Method(
    build=dspo,
    paper=Paper(
        title="DSPO: Direct Score Preference Optimization for Diffusion Model Alignment",
        authors=(
            "Zhu, Huaisheng",
            "Xiao, Teng",
            "Honavar, Vasant",
        ),
        year=2025,
        link="https://github.com/huaishengzhu/DSPO",
        subject="cs.CV",
    ),
    summary="score matching towards the preferred image; read the note on its beta",
    status="equation",
    reference="needed",
    data="pairs",
)
