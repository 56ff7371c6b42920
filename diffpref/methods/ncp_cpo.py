r"""NCP-CPO: noise-conditioned perception without reference, 2406.17636, section 4.

    L = E [ -log sigma( beta (l^w - l^l) ) + weight PL^w ],   PL = -2 l

    l = -1/2 mean ( f(x^_{t-1}) - f(x*_{t-1}) )^2: features of one sampler step with the predicted
    and with the true noise, by the frozen down stack of the base (`parts.likelihood: perceptual`).
    Its error carries a weight c_t^2 over t that spans a factor of 25; `normalise` takes it out.

Departs from the released code: the term weight PL^w of the paper is there (released: missing); f
computes in float32. Published beta 2500 multiplies mean feature errors without 1/2: 5000 here.
"""

from diffpref.likelihoods import perceptual
from diffpref.likelihoods.perceptual import Layer
from diffpref.losses import logistic
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def ncp_cpo(
    kit: Toolkit,
    *,
    beta: float = 5000.0,
    weight: float = 1.0,
    layer: Layer = "down",
    normalise: bool = False,
) -> PreferenceObjective[Noised]:
    """Return NCP-CPO.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2 on mean feature errors.
        weight: of the preferred image's feature error.
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
        anchor=weight,
    )


METHOD = Method(
    build=ncp_cpo,
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
    summary="a reference-free margin of feature errors, beside fitting the preferred image",
    status="equation",
    reference="refused",
    data="pairs",
)
