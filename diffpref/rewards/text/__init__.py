"""Reward models of text: how good a response is for a prompt, or which of two is better."""

from diffpref.rewards.text.cards import TEXT_SCORERS
from diffpref.rewards.text.load import load_text_scorer, text_scorer_names
from diffpref.rewards.text.model import PairwiseTextModel, TextModel
from diffpref.rewards.text.scorer import LoadedTextScorer

__all__ = [
    "TEXT_SCORERS",
    "LoadedTextScorer",
    "PairwiseTextModel",
    "TextModel",
    "load_text_scorer",
    "text_scorer_names",
]
