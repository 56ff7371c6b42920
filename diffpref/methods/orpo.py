r"""ORPO: Hong et al., 2403.07691, on diffusion errors.

    L = E [ m_w - weight log sigma( m_l - m_w ) ],   m: mean squared errors

Departs from the paper: errors stand for negative log odds, as in the diffusers script.
Departs from the released code (diffusers): its margin has the opposite sign, which rewards a worse
fit of the preferred image.
"""

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import odds_ratio
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def orpo(
    kit: Toolkit,
    *,
    weight: float = 0.1,
) -> PreferenceObjective[Noised]:
    """Return ORPO.

    Args:
        kit: the run's toolkit.
        weight: of the margin; errors differ by about 0.01, so it acts weakly.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=latent_loglik,
        loss=odds_ratio(weight=weight),
    )


METHOD = Method(
    build=orpo,
    paper=Paper(
        title="ORPO: Monolithic Preference Optimization without Reference Model",
        authors=(
            "Hong, Jiwoo",
            "Lee, Noah",
            "Thorne, James",
        ),
        year=2024,
        arxiv="2403.07691",
        subject="cs.CL",
    ),
    summary="fine-tuning on the preferred image with a small reference-free margin",
    status="equation",
    reference="refused",
    data="pairs",
)
