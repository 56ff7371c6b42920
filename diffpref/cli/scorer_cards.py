"""The cards of all scorers: those of images, and those of text."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from diffpref.errors import UsageError, nearest

if TYPE_CHECKING:
    from diffpref.rewards import Card


def all_cards() -> "Mapping[str, Card]":
    """Return name -> card."""
    from diffpref.rewards import SCORERS
    from diffpref.rewards.text.cards import TEXT_SCORERS

    return {**SCORERS, **TEXT_SCORERS}


def card_of(name: str) -> "Card":
    """Return the card of a scorer, whose variant is checked.

    Raises:
        UsageError: there is none of this name or variant.
    """
    plain, _, variant = name.partition(":")
    cards = all_cards()
    if plain not in cards:
        hint = nearest(plain, cards, listed_by="diffpref scorers list")
        raise UsageError("is not a scorer", where=name, hint=hint)
    cards[plain].variant(variant)
    return cards[plain]


def is_text(name: str) -> bool:
    """Say whether a scorer reads text instead of images."""
    from diffpref.rewards.text.cards import TEXT_SCORERS

    return name.partition(":")[0] in TEXT_SCORERS
