r"""Which candidate to use: the rewrite that gains most over the prompt, or the prompt itself.

    g_i = \sum_j (s_j(i) - s_j(prompt)) / temperature_j      for scorers
        + \sum_j logit P_j(i preferred to the prompt)        for those that only compare

A score over its scorer's temperature is a log odds by the scorer's own account, so gains of
different scorers add. A chance is kept within 0.001 and 0.999, so that none outweighs all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log, nan

SURE = 0.001


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a rewrite replaces its prompt.

    Attributes:
        margin: least gain in log odds; 0.7 says that it is preferred two times out of three. It
            must also be above 0, so that ties keep the prompt.
        agree: no scorer may prefer the prompt.
    """

    margin: float = 0.0
    agree: bool = False

    def best(self, gains: Sequence[Sequence[float]]) -> int:
        """Return the candidate to use, 0 being the prompt; the first of equals.

        Args:
            gains: of each scorer over all candidates; NaN takes a candidate out.
        """
        best, most = 0, 0.0
        for place in range(1, len(gains[0])):
            each = [column[place] for column in gains]
            total = sum(each)
            if not isfinite(total) or (self.agree and min(each) < 0):
                continue
            if total > most and total >= self.margin:
                best, most = place, total
        return best


def gains_of(scores: Sequence[float], temperature: float | None) -> list[float]:
    """Return each candidate's gain over the first.

    Args:
        scores: of the candidates; or the chances that each is preferred to the first.
        temperature: of the scorer; None for chances.
    """
    if temperature is None:
        return [_logit(chance) for chance in scores]
    return [(score - scores[0]) / temperature for score in scores]


def _logit(chance: float) -> float:
    if not isfinite(chance):
        return nan
    kept = min(max(chance, SURE), 1 - SURE)
    return log(kept / (1 - kept))
