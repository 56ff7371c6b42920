r"""SPO, step-by-step preference optimization: Liang et al., 2406.04314.

    x^w, x^l: best and worst of k candidates of one state
    h = beta ( log clamp(rho^w) - log clamp(rho^l) ),  rho = pi_theta / pi_ref in 1 +- 0.1
    L = -log sigma(h) + kl KL_t(pi_theta | pi_ref)

Published (released code): SD1.5 / SDXL k 4 / 2, threshold 0.3 / 0.4 on the preference model's
logits, beta 10, clamp 0.1, LoRA rank 4 / 64, learning rate 6e-5 / 1e-5, 20 steps with eta 1 and
guidance 5, the first 4 plain, 10 epochs of 4000 prompts, continuing from a random candidate. With
means over elements h is of order 0.01 for long: a loss near log 2 is normal.

Departs from the paper: any reward may judge (its step-aware preference model is trained by a run of
its own); pairs are filtered by their gap in standard deviations, since a threshold belongs to one
reward's units (`threshold: [0.3, 0.3]` is the released one); the KL penalty (kl: 0 is the paper);
the last step is left out (`skip_last: false` keeps it).
"""

from diffpref.kernel import StepWeight
from diffpref.losses import logistic
from diffpref.papers import Method, Paper
from diffpref.step_objective import Branching, StepObjective
from diffpref.toolkit import Toolkit
from diffpref.trajectories.rollout import Continue


def spo(
    kit: Toolkit,
    *,
    beta: float = 10.0,
    k: int = 4,
    continue_from: Continue = "random",
    start: float = 0.2,
    skip_last: bool = True,
    min_gap: float = 0.25,
    threshold: tuple[float, float] | None = None,
    weight: StepWeight = "exact",
    clamp: float | None = 0.1,
    kl: float = 0.1,
) -> StepObjective:
    """Return SPO.

    Args:
        kit: the run's toolkit.
        beta: strength on log ratios that are means over latent elements.
        k: candidates of a state; the best and the worst make a pair.
        continue_from: the candidate the next step starts from.
        start: share of the steps sampled plainly first.
        skip_last: leave the last step out.
        min_gap: smallest reward gap of a pair, in standard deviations of the gaps at its step.
        threshold: smallest tanh(gap / 2) at the steps of least and of most noise.
        weight: what stands for b / sigma in the logit; `exact` with a clamp.
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
        ),
        weight=weight,
        clamp=clamp,
        kl=kl,
    )


METHOD = Method(
    build=spo,
    paper=Paper(
        title="Aesthetic Post-Training Diffusion Models from Generic Preferences with Step-by-step "
        "Preference Optimization",
        authors=(
            "Liang, Zhanhao",
            "Yuan, Yuhui",
            "Gu, Shuyang",
            "Chen, Bohan",
            "Hang, Tiankai",
            "Cheng, Mingxi",
            "Li, Ji",
            "Zheng, Liang",
        ),
        year=2024,
        arxiv="2406.04314",
        subject="cs.CV",
    ),
    summary="best and worst of four candidates of one state, ratios clamped",
    status="equation",
    reference="needed",
    data="steps",
)
