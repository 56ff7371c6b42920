r"""SimPO: Meng et al., 2405.14734, on diffusion errors.

    L = -E log sigma( -beta/2 (m_w - m_l) - gamma ),   m: mean squared errors

    The mean over elements plays the role of the length normalisation. No reference.

Departs from the paper: a language-model method; there is no published diffusion form.
"""

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import logistic
from diffpref.objective import PreferenceObjective
from diffpref.offsets import constant
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def simpo(
    kit: Toolkit,
    *,
    beta: float = 500.0,
    gamma: float = 0.5,
) -> PreferenceObjective[Noised]:
    """Return SimPO.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2.
        gamma: the margin asked for, in the logit's units.

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
        offset=constant(value=gamma),
    )


METHOD = Method(
    build=simpo,
    paper=Paper(
        title="SimPO: Simple Preference Optimization with a Reference-Free Reward",
        authors=(
            "Meng, Yu",
            "Xia, Mengzhou",
            "Chen, Danqi",
        ),
        year=2024,
        arxiv="2405.14734",
        subject="cs.CL",
    ),
    summary="a margin without reference that must pass a target",
    status="equation",
    reference="refused",
    data="pairs",
)
