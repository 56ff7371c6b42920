r"""Several scorers' scores as one, weighted by what people voted: after MetaMetrics (2410.02381).

    r = sum_j w_j clip( (s_j - low_j) / (high_j - low_j), 0, 1 ),        w_j >= 0
    w = argmin_w  sum_i L( r(x_i) - r(y_i), p_i ) + ridge || w ||^2 / 2

Like the paper: scores are clipped to a range, brought to 0..1, and combined with weights that
cannot be negative, so that the whole is monotone in every scorer.

Departs from the paper: w maximises the likelihood of votes, which is convex and has one answer,
where the paper searches weights in [0, 1] for the highest correlation by Bayesian optimisation with
a Gaussian process (or boosts trees); so r is in log odds. The range is two quantiles of the scores
seen, since most scorers have no bounds of their own.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import DataError
from diffpref.io import BadText, read_json, write_json
from diffpref.types import PerRow

SCHEMA = "diffpref-ensemble/1"
ENSEMBLE = "ensemble.json"
"""Its file in the folder that `train-reward` writes."""

TAIL = 0.005
"""Share of scores clipped at either end."""

STEPS = 3000


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Weights and ranges of scorers, in the order of `scorers`.

    `fingerprints` tell each scorer's weights apart, as `embeddings.fingerprint` gives them; empty
    if they were not kept.
    """

    scorers: tuple[str, ...]
    weights: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    fingerprints: tuple[str, ...] = ()

    def reward(self, scores: Float[Tensor, "n m"]) -> PerRow:
        """Return the combined reward, float64; a difference is the log odds of a choice."""
        low, high = self._row(self.low), self._row(self.high)
        return _unit(scores.double(), low, high) @ self._row(self.weights)

    def save(self, path: Path | str) -> None:
        """Write it as JSON."""
        write_json(path, {"schema": SCHEMA, **asdict(self)})

    def _row(self, values: Sequence[float]) -> Float[Tensor, " m"]:
        return torch.tensor(values, dtype=torch.float64)


def calibrate(
    scorers: Sequence[str],
    first: Float[Tensor, "n m"],
    second: Float[Tensor, "n m"],
    share: PerRow,
    *,
    ridge: float = 1.0,
) -> Ensemble:
    """Fit the weights of scorers to votes.

    Args:
        scorers: their names, one per column.
        first: scores of the first pictures; higher is better in every column.
        second: scores of the second pictures, for the same prompts.
        share: the first picture's share of each vote.
        ridge: precision of the prior of the weights around 0.

    Raises:
        DataError: there are no votes, or a score is not finite.
    """
    both = torch.cat([first, second]).double()
    if not len(share) or not bool(torch.isfinite(both).all()):
        hint = "leave those pictures out, or calibrate on more votes"
        raise DataError("no votes, or a score that is not finite", where="calibrate", hint=hint)
    low, high = both.quantile(TAIL, dim=0), both.quantile(1 - TAIL, dim=0)
    gaps = _unit(first.double(), low, high) - _unit(second.double(), low, high)
    return Ensemble(
        scorers=tuple(scorers),
        weights=tuple(_fit(gaps, share.double(), ridge).tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def load_ensemble(path: Path | str) -> Ensemble:
    """Read what `Ensemble.save` wrote.

    Raises:
        DataError: it is absent or damaged.
    """
    hint = "calibrate again: diffpref train-reward SOURCE --head ensemble"
    try:
        about = cast(dict[str, Any], read_json(path))
        if about["schema"] != SCHEMA:
            raise ValueError(f"schema {about['schema']}")
        numbers = {
            name: tuple(float(each) for each in about[name]) for name in ("weights", "low", "high")
        }
        scorers = tuple(str(each) for each in about["scorers"])
        prints = tuple(str(each) for each in about.get("fingerprints", ()))
        if any(len(each) != len(scorers) for each in (*numbers.values(), prints or scorers)):
            raise ValueError("lists of different lengths")
        return Ensemble(scorers=scorers, fingerprints=prints, **numbers)
    except (OSError, BadText, KeyError, TypeError, ValueError) as error:
        raise DataError(f"is no ensemble: {error!r}", where=str(path), hint=hint) from error


def _unit(
    scores: Float[Tensor, "n m"], low: Float[Tensor, " m"], high: Float[Tensor, " m"]
) -> Float[Tensor, "n m"]:
    """Clip to the range and bring it to 0..1; a scorer that never varies gives 0."""
    width = high - low
    scaled = (scores.clamp(low, high) - low) / torch.where(width > 0, width, torch.ones_like(width))
    return torch.where(width > 0, scaled, torch.zeros_like(scaled))


def _fit(
    gaps: Float[Tensor, "n m"], share: Float[Tensor, " n"], ridge: float
) -> Float[Tensor, " m"]:
    """Return the weights by accelerated projected gradient steps (FISTA, Beck & Teboulle 2009)."""
    steep = float(torch.linalg.eigvalsh(gaps.T @ gaps)[-1]) / 4 + ridge
    weights = ahead = torch.zeros(gaps.shape[1], dtype=torch.float64)
    pace = 1.0
    for _ in range(STEPS):
        slope = gaps.T @ ((gaps @ ahead).sigmoid() - share) + ridge * ahead
        new = (ahead - slope / steep).clamp(min=0)
        faster = (1 + (1 + 4 * pace**2) ** 0.5) / 2
        ahead = new + (pace - 1) / faster * (new - weights)
        weights, pace = new, faster
    return weights
