r"""CPO: contrastive preference optimisation, Xu et al., 2401.08417, on diffusion errors.

    L = E [ -log sigma( -beta/2 (m_w - m_l) ) + weight m_w ],   m: mean squared errors

    No reference: the margin holds the images' own difference in difficulty, about ten times what
    training changes, so beta is about ten times smaller than Diffusion-DPO's.

Departs from the paper: a language-model method; published values for images exist only in feature
space (`ncp_cpo`).
"""

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import logistic
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def cpo(
    kit: Toolkit,
    *,
    beta: float = 500.0,
    weight: float = 1.0,
) -> PreferenceObjective[Noised]:
    """Return CPO.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2.
        weight: of the preferred image's error.

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
        anchor=weight,
    )


METHOD = Method(
    build=cpo,
    paper=Paper(
        title="Contrastive Preference Optimization: Pushing the Boundaries of LLM Performance "
        "in Machine Translation",
        authors=(
            "Xu, Haoran",
            "Sharaf, Amr",
            "Chen, Yunmo",
            "Tan, Weiting",
            "Shen, Lingfeng",
            "Van Durme, Benjamin",
            "Murray, Kenton",
            "Kim, Young Jin",
        ),
        year=2024,
        arxiv="2401.08417",
        subject="cs.CL",
    ),
    summary="a margin without reference, beside fine-tuning on the preferred image",
    status="equation",
    reference="refused",
    data="pairs",
)
