r"""ReFL, reward feedback learning: Xu et al., 2304.05977.

    L = scale max(0, margin - r(\hat x_0(x_t), c))      x_t: the policy's own, after most steps

Sampling stops without gradient at a random step late in the plan; one step with gradient goes from
there to the clean image. Published (released code): 40 steps stopped after 30 to 39 of them, scale
1e-3, margin 2 (ImageReward's standardised units), learning rate 1e-5, 100 updates. Nothing but the
hinge keeps the policy near its start: stop early.

Departs from the paper: no pre-training loss beside it; the stop is drawn per prompt instead of per
batch.
"""

from diffpref.papers import Method, Paper
from diffpref.tail_objective import TailObjective, late_cut
from diffpref.toolkit import Toolkit
from diffpref.types import PerRow


def refl(
    kit: Toolkit,
    *,
    margin: float = 2.0,
    scale: float = 1e-3,
    start: float = 0.75,
) -> TailObjective:
    """Return ReFL.

    Args:
        kit: the run's toolkit.
        margin: the reward above which nothing is learnt.
        scale: factor on the loss.
        start: share of the steps that are always sampled without gradient.

    Returns:
        The objective.

    Raises:
        ConfigError: the run has no plan, or its reward no gradient.
        ValueError: a setting is out of its range.
    """
    if not scale > 0:
        raise ValueError(f"scale must be above 0, got {scale}")

    def head(reward: PerRow) -> PerRow:
        return scale * (margin - reward).clamp(min=0)

    return TailObjective(
        schedule=kit.schedule,
        plan=kit.plan(),
        reward=kit.reward(),
        cut=late_cut(start, 1.0),
        head=head,
        at_once=True,
    )


METHOD = Method(
    build=refl,
    paper=Paper(
        title="ImageReward: Learning and Evaluating Human Preferences for Text-to-Image Generation",
        authors=(
            "Xu, Jiazheng",
            "Liu, Xiao",
            "Wu, Yuchen",
            "Tong, Yuxuan",
            "Li, Qinkai",
            "Ding, Ming",
            "Tang, Jie",
            "Dong, Yuxiao",
        ),
        year=2023,
        arxiv="2304.05977",
        subject="cs.CV",
    ),
    summary="the reward's gradient through one step from late in sampling, with a hinge",
    status="equation",
    reference="optional",
    data="prompts",
)
