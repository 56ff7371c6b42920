"""Scorers: how much an image is worth for a prompt, exactly or as a model of people learned it."""

from diffpref.rewards.info import ScoreResult, ScorerInfo, WeightRef
from diffpref.rewards.load import SCORERS, load_scorer, scorer_names
from diffpref.rewards.model import ScoringModel, TwoTower
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.scorer import LoadedScorer

__all__ = [
    "SCORERS",
    "LoadOptions",
    "LoadedScorer",
    "ScoreResult",
    "ScorerInfo",
    "ScoringModel",
    "TwoTower",
    "WeightRef",
    "load_scorer",
    "scorer_names",
]
