"""The page of scorers says what the cards say."""

from pathlib import Path

import pytest

from diffpref.rewards import SCORERS
from diffpref.rewards.cards import Card
from diffpref.rewards.text import TEXT_SCORERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scorers.md"
CARDS = [*SCORERS.values(), *TEXT_SCORERS.values()]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_scorer_has_its_row_in_the_docs(card: Card) -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith(f"| `{card.name}` |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    said = {"yes": True, "no": False}[cells[4]]
    assert cells[1] == ", ".join(f"`{name}`" for name in card.variants)
    assert (cells[2], cells[3]) == (card.kind, card.about)
    assert (said, cells[5], cells[6]) == (card.differentiable, card.licence, card.parity)
