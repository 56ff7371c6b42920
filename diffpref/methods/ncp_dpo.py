r"""NCP-DPO: noise-conditioned perception, Gambashidze et al., 2406.17636, section 4.

    L = -E log sigma( beta [ (l - l_ref)^w - (l - l_ref)^l ] )

    l = -1/2 mean ( f(x^_{t-1}) - f(x*_{t-1}) )^2: features of one sampler step with the predicted
    and with the true noise, by the frozen down stack of the base (`parts.likelihood: perceptual`).
    Its error carries a weight c_t^2 over t that spans a factor of 25; `normalise` takes it out.

Departs from the released code: f computes in float32 (released: fp16, near its resolution of
feature differences). Published beta 2500 multiplies mean feature errors without 1/2: 5000 here.
"""

from diffpref.likelihoods import perceptual
from diffpref.likelihoods.perceptual import Layer
from diffpref.losses import logistic
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def ncp_dpo(
    kit: Toolkit,
    *,
    beta: float = 5000.0,
    layer: Layer = "down",
    normalise: bool = False,
) -> PreferenceObjective[Noised]:
    """Return NCP-DPO.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2 on mean feature errors.
        layer: f ends after the down blocks (SDXL script) or the middle block (SD1.5 scripts).
        normalise: take the weight c_t^2 out of the error.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=perceptual(kit.schedule, kit.embedder, layer=layer, normalise=normalise),
        loss=logistic(beta=beta),
    )


METHOD = Method(
    build=ncp_dpo,
    paper=Paper(
        title="Aligning Diffusion Models with Noise-Conditioned Perception",
        authors=(
            "Gambashidze, Alexander",
            "Kulikov, Anton",
            "Sosnin, Yuriy",
            "Makarov, Ilya",
        ),
        year=2024,
        arxiv="2406.17636",
        subject="cs.CV",
    ),
    summary="Diffusion-DPO on errors seen by the frozen network's own features",
    status="parity",
    reference="needed",
    data="pairs",
)
