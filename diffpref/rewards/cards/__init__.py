"""The scorers, each as a card: what it is, what weights it needs and where to find them."""

from collections.abc import Mapping
from types import MappingProxyType

from diffpref.rewards.cards import (
    aesthetic,
    blip,
    described,
    mps,
    two_tower,
    vlm,
    weight_free,
    world,
)
from diffpref.rewards.cards.card import Card, Kind, Part

_FILES = (two_tower, aesthetic, blip, mps, vlm, described, weight_free, world)

SCORERS: Mapping[str, Card] = MappingProxyType(
    {card.name: card for cards in _FILES for card in cards.CARDS}
)
"""Name -> card; the code behind one is imported only when it is loaded."""

__all__ = ["SCORERS", "Card", "Kind", "Part"]
