r"""PPD, Personalized Preference Fine-tuning of Diffusion Models: Dang et al., 2501.06655.

    L = -E log sigma( -beta/2 [ (|eps - eps_theta(c, u)|^2 - |eps - eps_ref(c)|^2)^w
                              - (|eps - eps_theta(c, u)|^2 - |eps - eps_ref(c)|^2)^l ] )

|.|^2 is the mean over c, h, w; both images share t and eps. u is the vector of whoever chose,
computed from other choices of theirs; it reaches the policy through a cross-attention of its own.
The reference does not see u: it is the policy's network with the gate closed. The objective was
read second-hand; the paper's diffusion training was never released.

Departs from the paper: beta is Diffusion-DPO's (2311.12908), which absorbs T omega(lambda_t), the
factor 1/2 and the number of latent elements; the paper's own beta and omega are not known.
"""

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import logistic
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def ppd(kit: Toolkit, *, beta: float = 5000.0) -> PreferenceObjective[Noised]:
    """Return PPD; the rows' users come with the data, `users:` of the configuration.

    Args:
        kit: the run's toolkit.
        beta: strength; kappa = beta / 2 on mean squared errors.

    Returns:
        The objective.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=latent_loglik,
        loss=logistic(beta=beta),
    )


METHOD = Method(
    build=ppd,
    paper=Paper(
        title="Personalized Preference Fine-tuning of Diffusion Models",
        authors=(
            "Dang, Meihua",
            "Singh, Anikait",
            "Zhou, Linqi",
            "Ermon, Stefano",
            "Song, Jiaming",
        ),
        year=2025,
        arxiv="2501.06655",
        subject="cs.LG",
    ),
    summary="Diffusion-DPO of a policy that is told whose choice it learns",
    status="equation",
    reference="needed",
    data="pairs",
    users=True,
)
