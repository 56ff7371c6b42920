"""Scorers: how much an image is worth for a prompt, exactly or as a model of people learned it."""

from diffpref.rewards.cards import SCORERS, Card
from diffpref.rewards.info import ScoreResult, ScorerInfo, WeightRef
from diffpref.rewards.load import load_scorer, scorer_names
from diffpref.rewards.model import PairwiseModel, ScoringModel, TwoTower
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.scorer import LoadedScorer

__all__ = [
    "SCORERS",
    "Card",
    "LoadOptions",
    "LoadedScorer",
    "PairwiseModel",
    "ScoreResult",
    "ScorerInfo",
    "ScoringModel",
    "TwoTower",
    "WeightRef",
    "load_scorer",
    "scorer_names",
]
