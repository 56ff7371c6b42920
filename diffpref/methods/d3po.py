r"""D3PO: Yang et al., 2311.13231.

    two walks of a prompt, the better one by its last image; at every step of both
    h = beta ( log clamp(rho^w) - log clamp(rho^l) ),  rho = pi_theta(x_s|x_t) / pi_ref(x_s|x_t)
    L = -log sigma(h) + kl KL_t(pi_theta | pi_ref)

Each walk has its own x_t, so that the squares of the two log ratios do not cancel. Published
(released code): beta 0.1 on means over latent elements, clamp 0.1 (images fall apart at 0.2), LoRA
with learning rate 3e-5, 20 steps with eta 1 and guidance 5, two walks from one noise, every step.

Departs from the paper: k above 2 takes the best and the worst walk; the KL penalty (kl: 0 is the
paper).
"""

from diffpref.losses import logistic
from diffpref.papers import Method, Paper
from diffpref.toolkit import Toolkit
from diffpref.walk_objective import PairedWalks, Walking


def d3po(
    kit: Toolkit,
    *,
    beta: float = 0.1,
    k: int = 2,
    same_start: bool = True,
    drop_last: bool = False,
    clamp: float | None = 0.1,
    kl: float = 0.1,
) -> PairedWalks:
    """Return D3PO.

    Args:
        kit: the run's toolkit.
        beta: strength on log ratios that are means over latent elements.
        k: walks of a prompt; the best and the worst make a pair.
        same_start: start a prompt's walks from one noise.
        drop_last: leave the last step out.
        clamp: how far each ratio may be from 1; null holds none.
        kl: weight of the step's KL divergence from the reference.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return PairedWalks(
        schedule=kit.schedule,
        loss=logistic(beta=beta),
        walking=Walking(k=k, same_start=same_start, score="pair", drop_last=drop_last),
        clamp=clamp,
        kl=kl,
    )


METHOD = Method(
    build=d3po,
    paper=Paper(
        title="Using Human Feedback to Fine-tune Diffusion Models without Any Reward Model",
        authors=(
            "Yang, Kai",
            "Tao, Jian",
            "Lyu, Jiafei",
            "Ge, Chunjiang",
            "Chen, Jiaxin",
            "Li, Qimai",
            "Shen, Weihan",
            "Zhu, Xiaolong",
            "Li, Xiu",
        ),
        year=2023,
        arxiv="2311.13231",
        subject="cs.LG",
    ),
    summary="two whole walks; every step of the better one is preferred",
    status="equation",
    reference="needed",
    data="walks",
)
