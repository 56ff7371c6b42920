r"""Reward-weighted fine-tuning: Lee et al., 2302.12192, weights by softmax over a prompt's images.

    L = E sum_i w_i m_i,   w = softmax(score / temperature),   m: mean squared errors

    temperature near 0 is fine-tuning on the best image, a large one on all alike.

Departs from the paper: weights compare images of one prompt instead of being rewards themselves.
"""

from diffpref.labels import softmax
from diffpref.likelihoods.latent import latent_loglik
from diffpref.losses import likelihood
from diffpref.objective import PreferenceObjective
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import Noised


def weighted_sft(
    kit: Toolkit,
    *,
    temperature: float = 1.0,
) -> PreferenceObjective[Noised]:
    """Return weighted fine-tuning.

    Args:
        kit: the run's toolkit.
        temperature: of the weights, in the scores' units.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PreferenceObjective(
        length=len(kit.schedule),
        trajectory=forward(kit.schedule),
        likelihood=latent_loglik,
        loss=likelihood(),
        label=softmax(temperature=temperature),
    )


METHOD = Method(
    build=weighted_sft,
    paper=Paper(
        title="Aligning Text-to-Image Models using Human Feedback",
        authors=(
            "Lee, Kimin",
            "Liu, Hao",
            "Ryu, Moonkyung",
            "Watkins, Olivia",
            "Du, Yuqing",
            "Boutilier, Craig",
            "Abbeel, Pieter",
            "Ghavamzadeh, Mohammad",
            "Gu, Shixiang Shane",
        ),
        year=2023,
        arxiv="2302.12192",
        subject="cs.LG",
    ),
    summary="fine-tune on all images of a prompt, better ones more",
    status="equation",
    reference="optional",
    data="images",
)
