r"""DDPO with importance sampling: Black et al., 2305.13301.

    L = -min( rho A, clip(rho, 1 +- range) A ) + kl KL_t(pi_theta | pi_ref)
    rho = pi_theta(x_s | x_t) / pi_old(x_s | x_t),  A: reward, standardised and clipped to +-5

pi_old is the policy that sampled; log rho is a mean over latent elements, since the sum overflows.
Published (released code): range 1e-4, LoRA with learning rate 3e-4, 50 steps with eta 1 and
guidance 5, every step, 256 samples per epoch; no reference and no KL. Without either the policy
reaches the reward's ceiling by leaving the distribution: give it a reference and kl, or choose
`grpo`.

Departs from the paper: rewards are standardised over a prompt's images of one round instead of over
a running record of them.
"""

from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.walk_objective import GradedWalks, Walking


def ddpo(
    kit: Toolkit,
    *,
    range: float = 1e-4,
    k: int = 8,
    same_start: bool = False,
    drop_last: bool = False,
    clip: float = 5.0,
    kl: float = 0.0,
) -> GradedWalks:
    """Return DDPO.

    Args:
        kit: the run's toolkit.
        range: how far the ratio to the sampling policy may be from 1 and still be pushed.
        k: images of a prompt, over which rewards are standardised.
        same_start: start a prompt's images from one noise.
        drop_last: leave the last step out.
        clip: largest advantage.
        kl: weight of the step's KL divergence from the reference; above 0 it needs one.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return GradedWalks(
        schedule=kit.schedule,
        walking=Walking(
            k=k, same_start=same_start, score="advantage", clip=clip, drop_last=drop_last
        ),
        range=range,
        kl=kl,
    )


METHOD = Method(
    build=ddpo,
    paper=Paper(
        title="Training Diffusion Models with Reinforcement Learning",
        authors=(
            "Black, Kevin",
            "Janner, Michael",
            "Du, Yilun",
            "Kostrikov, Ilya",
            "Levine, Sergey",
        ),
        year=2023,
        arxiv="2305.13301",
        subject="cs.LG",
    ),
    summary="policy gradient on every step, the ratio to the sampler clipped",
    status="equation",
    reference="optional",
    data="walks",
)
