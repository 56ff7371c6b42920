"""The scorers, each as a card: what it is, what weights it needs and where to find them."""

from collections.abc import Mapping
from types import MappingProxyType

from diffpref.rewards.cards import two_tower, vlm, world
from diffpref.rewards.cards.card import Card, Kind, Part

SCORERS: Mapping[str, Card] = MappingProxyType(
    {card.name: card for cards in (two_tower, vlm, world) for card in cards.CARDS}
)
"""Name -> card; the code behind one is imported only when it is loaded."""

__all__ = ["SCORERS", "Card", "Kind", "Part"]
