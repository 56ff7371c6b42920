"""What the weight-free scorers, the judge and the ensemble need in WEIGHTS_DIR."""

from collections.abc import Callable, Mapping
from pathlib import Path

from diffpref.rewards.cards import weight_free


def write_nothing(_folder: Path) -> None:
    """Weight-free scorers need none."""


TINY: Mapping[str, Callable[[Path], None]] = {
    **{card.name: write_nothing for card in weight_free.CARDS},
}
