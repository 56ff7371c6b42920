r"""Linear-DPO: Li et al., 2605.21123.

    L = E sg[ clip(0.2 beta D + 1/2, eta, 1 - eta) ] (m_w - m_l),   D = (m_w - r_w) - (m_l - r_l)

    m, r: mean squared errors of policy and reference, an average of the policy (`reference.kind:
    ema`, updated every step). The gradient's weight is a hard sigmoid of D with a floor, so that
    decided pairs go on teaching. The value of the loss means nothing.

Departs from the released code: errors in float32.
"""

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import linear
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def linear_dpo(
    kit: Toolkit,
    *,
    beta: float = 100.0,
    floor: float = 1e-3,
) -> PreferenceObjective[Noised]:
    """Return Linear-DPO.

    Args:
        kit: the run's toolkit.
        beta: slope of the weight, not comparable with other methods'. Published: 100 for
            SD1.5, 500 for SDXL.
        floor: eta, the smallest weight. Published: 1e-3 for SD1.5, 0 for SDXL.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=latent_loglik,
        loss=linear(beta=beta, floor=floor),
    )


METHOD = Method(
    build=linear_dpo,
    paper=Paper(
        title="Linear-DPO: Linear Direct Preference Optimization for Diffusion and "
        "Flow-Matching Generative Models",
        authors=(
            "Li, Kesong",
            "Xu, Yixuan",
            "Tseng, Kuo-kun",
            "Lu, Weiyi",
            "Liu, Kan",
            "Lan, Tao",
        ),
        year=2026,
        arxiv="2605.21123",
        subject="cs.CV",
    ),
    summary="a hard sigmoid as gradient weight, against an average of the policy",
    status="equation",
    reference="needed",
    data="pairs",
)
