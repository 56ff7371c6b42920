r"""LPO, latent preference optimization: Zhang et al., 2502.01051.

    x^w, x^l: best and worst of k candidates x_s of one state by a reward r(x_s, s, c) of noisy
    latents; no clean image is predicted and nothing decoded
    h = beta ( log clamp(rho^w) - log clamp(rho^l) ),  rho = pi_theta / pi_ref in 1 +- 0.1
    L = -log sigma(h) + kl KL_t(pi_theta | pi_ref)

Published (released code): beta 500, k 4, clamp 0.1 (at this beta it bounds h at +-100 only),
learning rate 6e-5 / 1e-5 (SDXL), thresholds from 0.35 to 0.5 / 0.45 to 0.6 following sigma_t
(`threshold: [0.35, 0.5]`), every step from the first, guidance 5, 5 epochs of 4000 / 8000 prompts.

Departs from the paper: any reward that reads noisy latents may judge (its latent reward model has
guidance 7.5 of its own); pairs are filtered by their gap in standard deviations unless `threshold`
is set, and that is linear in sigma (how the released one follows sigma was not checked); the KL
penalty (kl: 0 is the paper); the last step is left out.
"""

from diffpref.losses import logistic
from diffpref.papers import Method, Paper
from diffpref.step_objective import Branching, StepObjective
from diffpref.toolkit import Toolkit
from diffpref.trajectories.rollout import Continue


def lpo(
    kit: Toolkit,
    *,
    beta: float = 500.0,
    k: int = 4,
    continue_from: Continue = "random",
    start: float = 0.0,
    skip_last: bool = True,
    min_gap: float = 0.25,
    threshold: tuple[float, float] | None = None,
    clamp: float | None = 0.1,
    kl: float = 0.1,
) -> StepObjective:
    """Return LPO.

    Args:
        kit: the run's toolkit.
        beta: strength on log ratios that are means over latent elements.
        k: candidates of a state; the best and the worst make a pair.
        continue_from: the candidate the next step starts from.
        start: share of the steps sampled plainly first.
        skip_last: leave the last step out.
        min_gap: smallest reward gap of a pair, in standard deviations of the gaps at its step.
        threshold: smallest tanh(gap / 2) at the steps of least and of most noise.
        clamp: how far each ratio may be from 1; null holds none.
        kl: weight of the step's KL divergence from the reference.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return StepObjective(
        schedule=kit.schedule,
        loss=logistic(beta=beta),
        branching=Branching(
            k=k,
            continue_from=continue_from,
            start=start,
            skip_last=skip_last,
            min_gap=min_gap,
            threshold=threshold,
            noisy=True,
        ),
        weight="exact",
        clamp=clamp,
        kl=kl,
    )


METHOD = Method(
    build=lpo,
    paper=Paper(
        title="Diffusion Model as a Noise-Aware Latent Reward Model for Step-Level Preference "
        "Optimization",
        authors=(
            "Zhang, Tao",
            "Da, Cheng",
            "Ding, Kun",
            "Yang, Huan",
            "Jin, Kun",
            "Li, Yan",
            "Gao, Tingting",
            "Zhang, Di",
            "Xiang, Shiming",
            "Pan, Chunhong",
        ),
        year=2025,
        arxiv="2502.01051",
        subject="cs.CV",
    ),
    summary="candidates judged as noisy latents: no clean image, no decoding",
    status="equation",
    reference="needed",
    data="steps",
)
