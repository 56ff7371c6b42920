r"""DPO with an offset, Amini et al., 2402.10571, on diffusion errors.

    L = -E log sigma( u - scale f(score_w - score_l) ),   u as in Diffusion-DPO

    Pairs whose scores differ more must be told apart by more. The part is
    `parts.offset: score_gap`.

Departs from the paper: a language-model method, on Diffusion-DPO's logit; f is the identity by
default (released: the logarithm, which for gaps below 1 rewards doing nothing).
"""

from typing import Literal

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import logistic
from diffpref.objective import PreferenceObjective
from diffpref.offsets import score_gap
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def odpo(
    kit: Toolkit,
    *,
    beta: float = 5000.0,
    scale: float = 1.0,
    form: Literal["identity", "softplus", "log"] = "identity",
) -> PreferenceObjective[Noised]:
    """Return ODPO; `diffpref label pairs` gives scores worth an offset.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2.
        scale: offset per unit of score gap.
        form: f.

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
        offset=score_gap(scale=scale, form=form),
    )


METHOD = Method(
    build=odpo,
    paper=Paper(
        title="Direct Preference Optimization with an Offset",
        authors=(
            "Amini, Afra",
            "Vieira, Tim",
            "Cotterell, Ryan",
        ),
        year=2024,
        arxiv="2402.10571",
        subject="cs.CL",
    ),
    summary="Diffusion-DPO that asks for more where scores differ more",
    status="equation",
    reference="needed",
    data="pairs",
)
