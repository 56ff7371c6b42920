r"""TailorPO: Ren, Zhang et al., 2502.01667.

    x^w, x^l ~ pi_theta(. | x_t, c), ranked by the reward of \hat x_0(x_s)
    L = -log sigma( beta g_t <z^w - z^l, eps_theta - eps_ref> ) + kl KL_t(pi_theta | pi_ref)

Both candidates come from one state, so no term of differing states disturbs the direction of the
gradient. There is no released code, and of the paper only the abstract was read.

TailorPO-G moves the winner first (`diffpref.trajectories.displace`):

    x^w <- x^w - sigma^2 grad (r_high - r(x^w))^2,   no further than push sigma sqrt(chw)

Departs from the paper, or settles what was not read: the state continues from the preferred
candidate (from memory of the paper; SPO continues from a random one); no ratio is clamped (ours:
the clamp has no gradient where it binds); flat step weights (ours; `exact` is the log ratio of the
formula); k = 2; beta per mean over elements (10, SPO's); the first fifth of the steps is plain
sampling (SPO's 4 of 20); pairs need a gap above 1/4 of the gaps' standard deviation at their step
(ours); the KL penalty (ours: the paper has none, and without an anchor step methods leave the
distribution); r_high is out of reach, so that the winner moves by the whole of `push` (ours).
"""

from diffpref.kernel import StepWeight
from diffpref.losses import logistic
from diffpref.papers import Method, Paper
from diffpref.step_objective import Branching, StepObjective
from diffpref.toolkit import Toolkit
from diffpref.trajectories.rollout import Continue


def tailorpo(
    kit: Toolkit,
    *,
    beta: float = 10.0,
    k: int = 2,
    continue_from: Continue = "winner",
    start: float = 0.2,
    skip_last: bool = True,
    min_gap: float = 0.25,
    push: float = 0.0,
    weight: StepWeight = "flat",
    kl: float = 0.1,
) -> StepObjective:
    """Return TailorPO; with `push` above 0, TailorPO-G.

    Args:
        kit: the run's toolkit.
        beta: strength on log ratios that are means over latent elements.
        k: candidates of a state; the best and the worst make a pair.
        continue_from: the candidate the next step starts from.
        start: share of the steps sampled plainly first.
        skip_last: leave the last step out.
        min_gap: smallest reward gap of a pair, in standard deviations of the gaps at its step.
        push: how far the winner is moved along the reward's gradient, in lengths of the noise
            sigma sqrt(c h w); needs a differentiable reward.
        weight: what stands for b / sigma in the logit.
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
            push=push,
        ),
        weight=weight,
        kl=kl,
    )


METHOD = Method(
    build=tailorpo,
    paper=Paper(
        title="Refining Alignment Framework for Diffusion Models with Intermediate-Step Preference "
        "Ranking",
        authors=("Ren, Jie", "Zhang, Yuhang", "Liu, Dongrui", "Zhang, Xiaopeng", "Tian, Qi"),
        year=2025,
        arxiv="2502.01667",
        subject="cs.CV",
    ),
    summary="two candidates of one state, ranked by their step-wise reward",
    status="equation",
    reference="needed",
    data="steps",
)
