r"""RankDPO: Karthik et al., 2410.18013, eqs. 5-6.

    L = -E sum_{phi_i > phi_j} Delta_ij log sigma( -beta/2 (s_i - s_j) )
    s_i = |eps_i - eps_theta|^2 - |eps_i - eps_ref|^2
    Delta_ij = |2^phi_i - 2^phi_j| |1 / log(1 + tau_i) - 1 / log(1 + tau_j)|

    phi: the share of comparisons an image wins; tau: its rank. All images of a list share t, each
    has its own noise. With two images it is Diffusion-DPO times a constant.

Departs from the paper: it prints neither beta nor lr; 5000 is Diffusion-DPO's. Images of equal phi
share the mean of their ranks.
"""

from diffpref.labels import wins
from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import lambda_rank
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def rank_dpo(
    kit: Toolkit,
    *,
    beta: float = 5000.0,
    shared_noise: bool = False,
) -> PreferenceObjective[Noised]:
    """Return RankDPO.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2.
        shared_noise: give all images of a list the same noise, as Diffusion-DPO does.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule, shared=shared_noise),
        likelihood=latent_loglik,
        loss=lambda_rank(beta=beta),
        label=wins(),
    )


METHOD = Method(
    build=rank_dpo,
    paper=Paper(
        title="Scalable Ranked Preference Optimization for Text-to-Image Generation",
        authors=(
            "Karthik, Shyamgopal",
            "Coskun, Huseyin",
            "Akata, Zeynep",
            "Tulyakov, Sergey",
            "Ren, Jian",
            "Kag, Anil",
        ),
        year=2024,
        arxiv="2410.18013",
        subject="cs.CV",
    ),
    summary="all pairs of a ranked list, weighed by what swapping them costs",
    status="equation",
    reference="needed",
    data="lists",
)
