"""One pair as it stands on the page, and the words a person answers with."""

from dataclasses import dataclass
from secrets import token_hex

import torch

from diffpref.draws import generator
from diffpref.rate.pair import Pair, Picture

CHOICES = ("left", "right", "tie", "skip")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A pair on the page.

    Attributes:
        nonce: names this asking; an answer repeats it, so that none counts twice.
        pair: what is asked.
        left: which of its pictures stands on the left, 0 or 1.
        bits: what the answer is worth, where a profile chose the pair.
    """

    nonce: str
    pair: Pair
    left: int
    bits: float | None = None

    @property
    def sides(self) -> tuple[Picture, Picture]:
        """The pictures on the left and on the right."""
        first, second = self.pair.pictures
        return (second, first) if self.left else (first, second)

    def shares(self, choice: str) -> tuple[float, float]:
        """Return the shares of the pair's first and second picture: 1 and 0, or 1/2 each."""
        if choice == "tie":
            return 0.5, 0.5
        first = (choice == "left") == (self.left == 0)
        return (1.0, 0.0) if first else (0.0, 1.0)


def asked(pair: Pair, *, seed: int, bits: float | None = None) -> Asked:
    """Put a pair on the page; seed and pair alone decide which picture stands on the left."""
    rng = generator(seed, int(pair.id, 16), "rate/sides")
    left = int(torch.randint(2, (), generator=rng))
    return Asked(nonce=token_hex(8), pair=pair, left=left, bits=bits)
