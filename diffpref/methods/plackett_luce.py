r"""Diffusion-LPO: Plackett-Luce on ranked lists, Bai et al., 2510.01540.

    L = -E sum_i log [ e^{beta r_i} / sum_{j not better than i} e^{beta r_j} ],   r = l - l^ref

    l = -1/2 mean squared error. With two images it is Diffusion-DPO.

Departs from the paper: tied images all stand in each other's denominators (Breslow).
"""

from diffpref.labels import wins
from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import plackett_luce as plackett_luce_loss
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def plackett_luce(
    kit: Toolkit,
    *,
    beta: float = 5000.0,
    shared_noise: bool = True,
) -> PreferenceObjective[Noised]:
    """Return the listwise objective.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2.
        shared_noise: give all images of a list the same noise.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule, shared=shared_noise),
        likelihood=latent_loglik,
        loss=plackett_luce_loss(beta=beta),
        label=wins(),
    )


METHOD = Method(
    build=plackett_luce,
    paper=Paper(
        title="Towards Better Optimization For Listwise Preference in Diffusion Models",
        authors=(
            "Bai, Jiamu",
            "Yu, Xin",
            "Xu, Meilong",
            "Lu, Weitao",
            "Pan, Xin",
            "Maeng, Kiwan",
            "Kifer, Daniel",
            "Wang, Jian",
            "Wang, Yu",
        ),
        year=2025,
        arxiv="2510.01540",
        subject="cs.CV",
    ),
    summary="the likelihood of a whole ranking",
    status="equation",
    reference="needed",
    data="lists",
)
