r"""DRaFT-K: Clark et al., 2309.17400.

    L = -r(x_0(theta), c)      the gradient runs through the last K sampling steps only

Published: K 1 to 50 of 50 steps (1 and 10 in most results), LoRA. Of the methods here it spends
the fewest reward calls, and it collapses into one style soonest: nothing keeps the policy near its
start, so stop early.

Departs from the paper: no average over several noises of the last step (DRaFT-LV).
"""

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.papers import Method, Paper
from diffpref.tail_objective import TailObjective
from diffpref.toolkit import Toolkit


def draft(
    kit: Toolkit,
    *,
    steps: int = 1,
) -> TailObjective:
    """Return DRaFT-K.

    Args:
        kit: the run's toolkit.
        steps: K, how many of the last sampling steps are differentiated.

    Returns:
        The objective.

    Raises:
        ConfigError: the run has no plan, or its reward no gradient.
        ValueError: K is not among the plan's steps.
    """
    plan = kit.plan()
    total = len(plan.levels)
    if not 1 <= steps <= total:
        raise ValueError(f"steps must be 1 to {total}, the number of sampling steps, got {steps}")

    def cut(draws: Draws, length: int) -> Int[Tensor, " b"]:
        return torch.full((len(draws.positions),), length - steps)

    return TailObjective(
        schedule=kit.schedule,
        plan=plan,
        reward=kit.reward(),
        cut=cut,
        head=torch.neg,
    )


METHOD = Method(
    build=draft,
    paper=Paper(
        title="Directly Fine-Tuning Diffusion Models on Differentiable Rewards",
        authors=("Clark, Kevin", "Vicol, Paul", "Swersky, Kevin", "Fleet, David J"),
        year=2023,
        arxiv="2309.17400",
        subject="cs.CV",
    ),
    summary="the reward's gradient through the last K sampling steps",
    status="equation",
    reference="optional",
    data="prompts",
)
