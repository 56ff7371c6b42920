r"""Diffusion-KTO: Li et al., 2404.04465.

    L = E w_y (1 - sigma( y beta/2 (g - z) )),   g = |eps - eps_ref|^2 - |eps - eps_theta|^2
    z = max(0, mean of g over the batch), not differentiated;  y = +1 if the image is liked, else -1

    Learns from single images; `data.unpaired: true` turns pairs into them (an image is liked if it
    was preferred at least once). z is exact over micro-batches and processes.

Departs from the paper: the share of liked images in a batch (0.8) is met by their weight instead
of by sampling.
Departs from the released code: errors in float32; its baseline of mismatched captions is left out.
"""

from diffpref.labels import thumbs
from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import kto
from diffpref.losses.unpaired import Baseline, Utility
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def diffusion_kto(
    kit: Toolkit,
    *,
    beta: float = 10000.0,
    utility: Utility = "kahneman_tversky",
    baseline: Baseline = "mean",
    desirable: float = 1.0,
    undesirable: float = 1.0,
) -> PreferenceObjective[Noised]:
    """Return Diffusion-KTO.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2, so the published 5000 is 10000 here.
        utility: shape of the value function.
        baseline: the reference point z.
        desirable: weight of liked images.
        undesirable: weight of disliked images.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=latent_loglik,
        loss=kto(
            beta=beta,
            utility=utility,
            baseline=baseline,
            desirable=desirable,
            undesirable=undesirable,
        ),
        label=thumbs,
    )


METHOD = Method(
    build=diffusion_kto,
    paper=Paper(
        title="Aligning Diffusion Models by Optimizing Human Utility",
        authors=(
            "Li, Shufan",
            "Kallidromitis, Konstantinos",
            "Gokul, Akash",
            "Kato, Yusuke",
            "Kozuka, Kazuki",
        ),
        year=2024,
        arxiv="2404.04465",
        subject="cs.CV",
    ),
    summary="utility of single images that were liked or disliked",
    status="parity",
    reference="needed",
    data="unpaired",
)
