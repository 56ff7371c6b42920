r"""GRPO on denoising steps: Flow-GRPO (Liu et al., 2505.05470), DanceGRPO (2505.07818).

    L = -min( rho A, clip(rho, 1 +- range) A ) + kl KL_t(pi_theta | pi_ref)
    rho = pi_theta(x_s | x_t) / pi_old(x_s | x_t),  A = (r - mean) / std over a prompt's images

pi_old is the policy that sampled; log rho and KL are means over latent elements. Published
(released code): Flow-GRPO k 24, range 1e-4, kl 0.04 (0.01 for some rewards), 10 steps, reference:
adapters off. DanceGRPO k 16 from one noise (`same_start`), range 1e-4, no KL, the last step left
out (`drop_last`), full fine-tuning with learning rate 1e-5.

Departs from the paper: the steps are the stochastic DDIM steps of epsilon models instead of those
of a flow's stochastic differential equation; k 8 is for small machines.
"""

from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.walk_objective import GradedWalks, Walking


def grpo(
    kit: Toolkit,
    *,
    range: float = 1e-4,
    k: int = 8,
    same_start: bool = False,
    drop_last: bool = False,
    clip: float = 5.0,
    kl: float = 0.04,
) -> GradedWalks:
    """Return GRPO.

    Args:
        kit: the run's toolkit.
        range: how far the ratio to the sampling policy may be from 1 and still be pushed.
        k: images of a prompt, over which rewards are standardised.
        same_start: start a prompt's images from one noise.
        drop_last: leave the last step out.
        clip: largest advantage.
        kl: weight of the step's KL divergence from the reference.

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
    build=grpo,
    paper=Paper(
        title="Flow-GRPO: Training Flow Matching Models via Online RL",
        authors=(
            "Liu, Jie",
            "Liu, Gongye",
            "Liang, Jiajun",
            "Li, Yangguang",
            "Liu, Jiaheng",
            "Wang, Xintao",
            "Wan, Pengfei",
            "Zhang, Di",
            "Ouyang, Wanli",
        ),
        year=2025,
        arxiv="2505.05470",
        subject="cs.CV",
    ),
    summary="advantages over a prompt's images on every step, with KL to the reference",
    status="equation",
    reference="needed",
    data="walks",
)
