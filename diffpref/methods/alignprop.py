r"""AlignProp with randomly truncated backpropagation: Prabhudesai et al., 2310.03739.

    L = -r(x_0(theta), c)      the gradient runs through the sampling steps from a random one on

Published (released code): 50 steps, truncated at about 42 with a spread of 5, LoRA with learning
rate 1e-3, activation checkpointing. Nothing keeps the policy near its start, so stop early.

Departs from the paper: the truncation is uniform between two shares of the steps and drawn once per
prompt (released: anew at every step); no target for the reward (released: the distance to an
aesthetic score of 10, which has the same gradient below it).
"""

import torch

from diffpref.papers import Method, Paper
from diffpref.tail_objective import TailObjective, late_cut
from diffpref.toolkit import Toolkit


def alignprop(
    kit: Toolkit,
    *,
    low: float = 0.74,
    high: float = 0.94,
) -> TailObjective:
    """Return AlignProp.

    Args:
        kit: the run's toolkit.
        low: least share of the steps that is sampled without gradient.
        high: largest such share.

    Returns:
        The objective.

    Raises:
        ConfigError: the run has no plan, or its reward no gradient.
        ValueError: a setting is out of its range.
    """
    return TailObjective(
        schedule=kit.schedule,
        plan=kit.plan(),
        reward=kit.reward(),
        cut=late_cut(low, high),
        head=torch.neg,
    )


METHOD = Method(
    build=alignprop,
    paper=Paper(
        title="Aligning Text-to-Image Diffusion Models with Reward Backpropagation",
        authors=(
            "Prabhudesai, Mihir",
            "Goyal, Anirudh",
            "Pathak, Deepak",
            "Fragkiadaki, Katerina",
        ),
        year=2023,
        arxiv="2310.03739",
        subject="cs.CV",
    ),
    summary="the reward's gradient through a random number of the last sampling steps",
    status="equation",
    reference="optional",
    data="prompts",
)
