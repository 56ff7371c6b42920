r"""Diffusion alpha-DPO, ICLR 2026: an alpha-divergence in place of the sigmoid loss.

    L = E (p^a - (1 - a) - a p) / (a (a - 1)),   p = sigma(u), u as in Diffusion-DPO

    At the published a = 0.9999 it is p log p - p + 1 to five digits: bounded, so that badly wrong
    pairs get no gradient. The head is `parts.loss: alpha_divergence`.

Departs from the released code: its optional factor mean sigma(u) after a given step is left out;
the quotient, which cancels in float32, is replaced by its series; errors in float32.
"""

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import alpha_divergence
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def alpha_dpo(
    kit: Toolkit,
    *,
    beta: float = 4000.0,
    alpha: float = 0.9999,
) -> PreferenceObjective[Noised]:
    """Return Diffusion alpha-DPO.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2.
        alpha: order of the divergence.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=latent_loglik,
        loss=alpha_divergence(beta=beta, alpha=alpha),
    )


METHOD = Method(
    build=alpha_dpo,
    paper=Paper(
        title="alpha-DPO: Robust Preference Alignment for Diffusion Models via alpha Divergence",
        authors=(),
        year=2026,
        link="https://openreview.net/forum?id=wqbnA6PcKr",
        subject="cs.CV",
    ),
    summary="Diffusion-DPO with an alpha-divergence in place of the sigmoid loss",
    status="equation",
    reference="needed",
    data="pairs",
)
