r"""How often, and how surely, somebody foresees votes: accuracy by person or prompt, reliability.

    accuracy = mean over units of the mean over the unit's pairs of  1, 1/2 or 0
    ECE      = sum_b n_b / n | mean hit in b - mean confidence in b |        (1706.04599, eq. 3)

A unit is a person or a prompt: its pairs are not independent, so intervals resample units. A tied
vote and an undecided prediction count one half. Confidence is max(P, 1 - P); bins hold equally
many pairs.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.errors import DataError
from diffpref.evaluate.winrate import bootstrap_means
from diffpref.rewards.heads.loss import pair_loss
from diffpref.types import PerRow

BINS = 8


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Accuracy with its 95 % bootstrap interval over `units`, of `n` pairs."""

    accuracy: float
    low: float
    high: float
    n: int
    units: int


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Pairs of similar confidence: how sure, how often right, how many."""

    confidence: float
    right: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """The reliability curve, its expected calibration error, and the mean loss of a vote."""

    bins: tuple[Bin, ...]
    ece: float
    loss: float


def judged(logit: PerRow, share: PerRow, unit: Int[Tensor, " n"]) -> Judged:
    """Return how often votes are foreseen.

    Args:
        logit: predicted log odds that the first picture is preferred.
        share: the first picture's share of the vote; or the exact probability of it, and then the
            result is the accuracy expected over all votes that might have been given.
        unit: person or prompt of each pair.

    Raises:
        DataError: there are no pairs, or a prediction is not a number.
    """
    if not len(logit):
        hint = "use a larger data set, or another --split"
        raise DataError("there are no test pairs", where="accuracy", hint=hint)
    if bool(torch.isnan(logit).any()):
        hint = "look for the pair's image or prompt with `diffpref score`; or try --dtype fp32"
        raise DataError("a prediction is not a number", where="accuracy", hint=hint)
    right = hits(logit, share)
    means = torch.stack([right[unit == each].mean() for each in unit.unique()])
    low, high = bootstrap_means(means[None])[0]
    return Judged(accuracy=float(means.mean()), low=low, high=high, n=len(logit), units=len(means))


def hits(logit: PerRow, share: PerRow) -> Float[Tensor, " n"]:
    """Return each vote's share that goes to the predicted picture; float64."""
    share = share.double()
    ahead = torch.where(logit > 0, share, 1 - share)
    return torch.where(logit == 0, 0.5, ahead)


def reliability(logit: PerRow, share: PerRow, *, bins: int = BINS) -> Reliability:
    """Return the reliability curve of predicted log odds against votes."""
    right, sure = hits(logit, share), logit.double().abs().sigmoid()
    order = sure.argsort(stable=True)
    found = [
        Bin(confidence=float(sure[part].mean()), right=float(right[part].mean()), n=len(part))
        for part in order.tensor_split(min(bins, len(order)))
    ]
    gaps = [each.n * abs(each.right - each.confidence) for each in found]
    return Reliability(
        bins=tuple(found),
        ece=sum(gaps) / len(order),
        loss=float(pair_loss(logit.double(), share.double()).mean()),
    )
