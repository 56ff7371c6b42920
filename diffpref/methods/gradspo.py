r"""GradSPO: Tee et al., NeurIPS 2025; the released code writes guidance targets, this their logit.

    eps^{w,l} = eps_EMA -+ s sqrt(1 - abar_t) (z_max - z_min) / 2      s: guidance strength, 1/2
    h = -beta 2 s sqrt(1 - abar_t) <z_max - z_min, eps_theta - eps_ref>
    L = -log sigma(h) + kl KL_t(pi_theta | pi_ref)

In the difference of squared errors to the two targets eps_EMA and every square cancel, so that it
is SPO with b / sigma replaced by -sqrt(1 - abar_t): no spike before the last step (derivation:
ours, checked in tests). Published (released code): s 0.5, beta 10, clamp 0.1, k 4, threshold 0.3,
the first 4 of 20 steps plain, LoRA rank 4 (SDXL 64), learning rate 6e-5, batch 10, 10 epochs,
rollouts by an average of the policy with decay 0.9.

Departs from the paper: no clamp, which is all that the target's eps_EMA influences (the average
belongs to the rollout: let it sample); pairs are filtered by their gap in standard deviations; the
KL penalty (kl: 0 is the paper); the last step is left out.
"""

from diffpref.losses import logistic
from diffpref.papers import Method, Paper
from diffpref.step_objective import Branching, StepObjective
from diffpref.toolkit import Toolkit
from diffpref.trajectories.rollout import Continue


def gradspo(
    kit: Toolkit,
    *,
    beta: float = 10.0,
    k: int = 4,
    continue_from: Continue = "random",
    start: float = 0.2,
    skip_last: bool = True,
    min_gap: float = 0.25,
    threshold: tuple[float, float] | None = None,
    kl: float = 0.1,
) -> StepObjective:
    """Return GradSPO.

    Args:
        kit: the run's toolkit.
        beta: strength on inner products that are means over latent elements; another guidance
            strength s is beta x 2 s.
        k: candidates of a state; the best and the worst make a pair.
        continue_from: the candidate the next step starts from.
        start: share of the steps sampled plainly first.
        skip_last: leave the last step out.
        min_gap: smallest reward gap of a pair, in standard deviations of the gaps at its step.
        threshold: smallest tanh(gap / 2) at the steps of least and of most noise.
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
        weight="guidance",
        kl=kl,
    )


METHOD = Method(
    build=gradspo,
    paper=Paper(
        title="A Gradient Guidance Perspective on Stepwise Preference Optimization for Diffusion "
        "Models",
        authors=(
            "Tee, Joshua Tian Jin",
            "Yoon, Hee Suk",
            "Syarubany, Abu Hanif Muhammad",
            "Yoon, Eunseop",
            "Yoo, Chang D.",
        ),
        year=2025,
        link="https://openreview.net/forum?id=d6lIOnvOX2",
        subject="cs.CV",
    ),
    summary="SPO read as guidance: steps weighed by their noise level",
    status="equation",
    reference="needed",
    data="steps",
)
