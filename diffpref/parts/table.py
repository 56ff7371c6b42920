"""The parts, their kinds, and what other tools call them."""

from collections.abc import Mapping

from diffpref.emphasis import dynamic, high_noise
from diffpref.guards import winner
from diffpref.kernel import StepWeight
from diffpref.labels import hard, smoothed, soft, softmax, thumbs, wins
from diffpref.likelihoods import SquaredError, latent_loglik, perceptual
from diffpref.losses import (
    alpha_divergence,
    brier,
    cross_entropy,
    exo,
    hinge,
    kto,
    lambda_rank,
    likelihood,
    linear,
    logistic,
    margin_aware,
    odds_ratio,
    plackett_luce,
    robust,
    score_matching,
    squared,
)
from diffpref.offsets import constant, score_gap
from diffpref.parts.checking import Factory
from diffpref.step_objective import StepObjective
from diffpref.timesteps import discrete, tilted, uniform
from diffpref.trajectories.forward import forward
from diffpref.trajectories.inversion import inversion
from diffpref.types import Labeller, Noised
from diffpref.walk_objective import PairedWalks

Spec = str | Mapping[str, object]


def _hard() -> Labeller:
    return hard


def _soft() -> Labeller:
    return soft


def _thumbs() -> Labeller:
    return thumbs


def _latent() -> SquaredError[Noised]:
    return latent_loglik


def _winner(*, weight: float) -> float:
    """Add weight x the preferred image's mean squared error to the loss."""
    return weight


def _exact() -> StepWeight:
    return "exact"


def _flat() -> StepWeight:
    return "flat"


def _guidance() -> StepWeight:
    return "guidance"


PARTS: Mapping[str, Mapping[str, Factory]] = {
    "loss": {
        "logistic": logistic,
        "cross_entropy": cross_entropy,
        "hinge": hinge,
        "squared": squared,
        "robust": robust,
        "exo": exo,
        "alpha_divergence": alpha_divergence,
        "brier": brier,
        "linear": linear,
        "score_matching": score_matching,
        "margin_aware": margin_aware,
        "odds_ratio": odds_ratio,
        "likelihood": likelihood,
        "lambda_rank": lambda_rank,
        "plackett_luce": plackett_luce,
        "kto": kto,
    },
    "label": {
        "hard": _hard,
        "soft": _soft,
        "smoothed": smoothed,
        "softmax": softmax,
        "wins": wins,
        "thumbs": _thumbs,
    },
    "timesteps": {"uniform": uniform, "discrete": discrete, "tilted": tilted},
    "trajectory": {"forward": forward, "inversion": inversion},
    "likelihood": {"latent": _latent, "perceptual": perceptual},
    "emphasis": {"high_noise": high_noise, "dynamic": dynamic},
    "offset": {"score_gap": score_gap, "constant": constant},
    "anchor": {"winner": _winner},
    "guard": {"winner": winner},
    "weight": {"exact": _exact, "flat": _flat, "guidance": _guidance},
}
"""Part -> its kinds. A factory's keyword arguments are the kind's settings; a positional argument
named `schedule` or `embedder` is given the run's."""

OF_STEPS: Mapping[type, frozenset[str]] = {
    StepObjective: frozenset({"loss", "weight"}),
    PairedWalks: frozenset({"loss"}),
}
"""What can be replaced where sampled steps are compared; of offline methods all but the weight."""

ALSO_KNOWN_AS = {
    "sigmoid": "logistic",
    "ipo": "squared",
    "cdpo": "cross_entropy",
    "rdpo": "robust",
    "dmpo": "exo",
    "sft": "likelihood",
    "dspo": "score_matching",
    "mapo": "margin_aware",
    "orpo": "odds_ratio",
    "alpha_dpo": "alpha_divergence",
    "rankdpo": "lambda_rank",
    "listwise": "plackett_luce",
    "renoise": "inversion",
    "ncp": "perceptual",
    "sdpo": "winner",
    "odpo": "score_gap",
    "beta_dpo": "dynamic",
}
"""Names other tools use, for error messages."""
