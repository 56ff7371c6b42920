r"""NCP-SFT: fine-tuning on feature errors, 2406.17636, section 4.

    L = E PL^w,   PL = -2 l

    l = -1/2 mean ( f(x^_{t-1}) - f(x*_{t-1}) )^2: features of one sampler step with the predicted
    and with the true noise, by the frozen down stack of the base (`parts.likelihood: perceptual`).
    Its error carries a weight c_t^2 over t that spans a factor of 25; `normalise` takes it out.

Departs from the released code: f computes in float32.
"""

from diffpref.likelihoods import perceptual
from diffpref.likelihoods.perceptual import Layer
from diffpref.losses import likelihood
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def ncp_sft(
    kit: Toolkit,
    *,
    layer: Layer = "down",
    normalise: bool = False,
) -> PreferenceObjective[Noised]:
    """Return NCP-SFT.

    Args:
        kit: the run's toolkit.
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
        loss=likelihood(),
    )


METHOD = Method(
    build=ncp_sft,
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
    summary="fine-tune on the preferred image's feature error",
    status="equation",
    reference="optional",
    data="images",
)
