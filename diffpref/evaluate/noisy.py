"""Measures a trained noisy reward on votes it has not seen, at every step of a grid."""

from collections.abc import Callable

import torch

from diffpref.evaluate.figure import Curve
from diffpref.evaluate.judged import judged, reliability
from diffpref.evaluate.reward_report import Contender, Findings
from diffpref.rewards.noisy.fit import FittedNoisy
from diffpref.rewards.noisy.pairs import NoisyPairs
from diffpref.types import PerRow

Judge = Callable[[NoisyPairs], PerRow]


@torch.no_grad()
def measure_noisy(fitted: FittedNoisy, test: NoisyPairs, scorer: str | None) -> Findings:
    """Measure a reward over all steps and at each, and its scorer alone beside it.

    Args:
        fitted: the head and its training history.
        test: votes noised at a few steps; intervals resample their prompts.
        scorer: name of the scorer a step-aware reward stands on.

    Raises:
        DataError: there are no test votes.
    """
    judges: dict[str, Judge] = {"reward": lambda pairs: pairs.log_odds(fitted.head)}
    if scorer is not None:
        judges[f"{scorer} on the clean prediction"] = NoisyPairs.own_gap
    steps = [int(t) for t in test.t.unique()]
    contenders: list[Contender] = []
    curves: list[Curve] = []
    for name, judge in judges.items():
        contenders.append(_contender(name, judge, test))
        each = [_contender(f"{name}, t = {t}", judge, test.rows(test.t == t)) for t in steps]
        points = [(float(t), one.votes.accuracy) for t, one in zip(steps, each, strict=True)]
        contenders += each
        curves.append(Curve(name=name, points=points))
    return Findings(
        contenders=contenders,
        history=fitted.history,
        reliability=reliability(test.log_odds(fitted.head), test.share),
        by_step=curves,
    )


def _contender(name: str, judge: Judge, pairs: NoisyPairs) -> Contender:
    return Contender(name=name, votes=judged(judge(pairs), pairs.share, pairs.prompt))
