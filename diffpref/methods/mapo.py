r"""MaPO: margin-aware preference optimisation, Hong et al., 2406.06424.

    L = E [ m_w - beta log sigma( T [ phi(m_w) - phi(m_l) ] ) ],   phi(m) = s m / (e^{s m} - 1)

    m: mean squared errors. Since phi'(0) = -s/2, for small errors this is fine-tuning on the
    preferred image plus beta times a reference-free margin with kappa = T s / 2 = 250.

Departs from the paper: beta and s stand where the released code has them.
Departs from the released code: expm1, since the quotient is 0/0 for small errors; errors in
float32.
"""

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import margin_aware
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def mapo(
    kit: Toolkit,
    *,
    beta: float = 0.1,
    scale: float = 0.5,
) -> PreferenceObjective[Noised]:
    """Return MaPO.

    Args:
        kit: the run's toolkit.
        beta: weight of the margin term; not the strength of other methods.
        scale: s.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=latent_loglik,
        loss=margin_aware(beta=beta, scale=scale, length=float(len(kit.schedule))),
    )


METHOD = Method(
    build=mapo,
    paper=Paper(
        title="Margin-aware Preference Optimization for Aligning Diffusion Models without "
        "Reference",
        authors=(
            "Hong, Jiwoo",
            "Paul, Sayak",
            "Lee, Noah",
            "Rasul, Kashif",
            "Thorne, James",
            "Jeong, Jongheon",
        ),
        year=2024,
        arxiv="2406.06424",
        subject="cs.CV",
    ),
    summary="fine-tuning on the preferred image and a reference-free margin",
    status="parity",
    reference="refused",
    data="pairs",
)
