r"""Supervised fine-tuning: the pre-training loss on preferred images.

    L = E mean (eps - eps_theta(x_t^w, t, c))^2          (Ho et al., 2006.11239, eq. 14)

The baseline of every preference paper; label-weighted, so a prompt may have any number of
images and a tie counts both by half.

Departs from the paper: the mean over c, h, w instead of the sum.
"""

from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import likelihood
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def sft(kit: Toolkit) -> PreferenceObjective[Noised]:
    """Return supervised fine-tuning on the preferred image."""
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=latent_loglik,
        loss=likelihood(),
    )


METHOD = Method(
    build=sft,
    paper=Paper(
        title="Denoising Diffusion Probabilistic Models",
        authors=("Ho, Jonathan", "Jain, Ajay", "Abbeel, Pieter"),
        year=2020,
        arxiv="2006.11239",
        subject="cs.LG",
    ),
    summary="fine-tune on the preferred images only",
    status="equation",
    reference="optional",
    data="images",
)
