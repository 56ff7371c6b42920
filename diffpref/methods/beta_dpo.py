r"""beta-DPO with a dynamic beta, Wu et al., 2407.08639, on diffusion errors.

    L: Diffusion-DPO's on the selected pairs, with beta max(1 + a mean(M - M_0), 0.001)

    M = u, the pairs' margins; M_0 their running mean. The part is `parts.emphasis: dynamic`, where
    the departures are named: running values per timestep bin, and a selection without sampling.

Departs from the paper: a language-model method, on Diffusion-DPO's logit.
"""

from diffpref.emphasis import dynamic
from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import logistic
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def beta_dpo(
    kit: Toolkit,
    *,
    beta: float = 5000.0,
    strength: float = 0.6,
    keep: float = 0.8,
    momentum: float = 0.9,
    bins: int = 10,
) -> PreferenceObjective[Noised]:
    """Return beta-DPO.

    Args:
        kit: the run's toolkit.
        beta: strength at a usual margin; kappa = beta / 2.
        strength: a; the released configuration has 0.
        keep: share of the batch that is trained on.
        momentum: of the running mean and spread.
        bins: of the timestep.

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
        emphasis=dynamic(kit.schedule, strength=strength, keep=keep, momentum=momentum, bins=bins),
    )


METHOD = Method(
    build=beta_dpo,
    paper=Paper(
        title="beta-DPO: Direct Preference Optimization with Dynamic beta",
        authors=(
            "Wu, Junkang",
            "Xie, Yuexiang",
            "Yang, Zhengyi",
            "Wu, Jiancan",
            "Gao, Jinyang",
            "Ding, Bolin",
            "Wang, Xiang",
            "He, Xiangnan",
        ),
        year=2024,
        arxiv="2407.08639",
        subject="cs.AI",
    ),
    summary="Diffusion-DPO whose beta follows the batch's margins",
    status="equation",
    reference="needed",
    data="pairs",
)
