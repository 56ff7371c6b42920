"""Reads verdicts out of a judge's answer; an answer without one is NaN, never 0."""

import re
from collections.abc import Callable
from math import nan

Reading = Callable[[str], float]

_THOUGHT = re.compile(r".*</think>", re.DOTALL)
_SCORE = re.compile(
    r"\bscore\b[\s*_`]*[:=][\s*_`]*(-?\d+(?:\.\d+)?)(?!\d|\.\d|\s*[-\u2013]\s*\d|\s*%)"
    r"(?:[\s*_`]*/[\s*_`]*(\d+))?",
    re.IGNORECASE,
)
_BETTER = re.compile(r"\bbetter\b[\s*_`]*[:=][\s*_`]*(1|2|tie)\b", re.IGNORECASE)
_UNIFIED = re.compile(r"image ([12]) is better|both images are (equally) good", re.IGNORECASE)


def without_thoughts(answer: str) -> str:
    """Return what follows a model's thoughts, if it marks them."""
    return _THOUGHT.sub("", answer, count=1)


def score_up_to(high: float) -> Reading:
    """Read the last `Score: NUMBER`; of `NUMBER/SCALE` the scale must be `high`."""

    def reading(answer: str) -> float:
        found = list(_SCORE.finditer(answer))
        if not found or (found[-1][2] is not None and float(found[-1][2]) != high):
            return nan
        return float(found[-1][1])

    return reading


def better(answer: str) -> float:
    """Read the last `Better: 1`, `Better: 2` or `Better: tie`."""
    found = list(_BETTER.finditer(answer))
    return {"1": 1.0, "2": 0.0, "tie": 0.5}[found[-1][1].lower()] if found else nan


def unified_better(answer: str) -> float:
    """Read UnifiedReward's last sentence about which image is better."""
    found = list(_UNIFIED.finditer(answer))
    return {"1": 1.0, "2": 0.0, None: 0.5}[found[-1][1]] if found else nan
