r"""A blind study of two models: the same prompts and seeds, sides by chance, labels at the end.

    o_ps = 1, 1/2 or 0 as the person prefers A's picture of prompt p and seed s, neither, or B's
    win rate = mean over answered prompts of the mean over answered seeds of o_ps

Pictures of A and B that are the same, byte for byte, are a tie nobody is asked about. The unit of
chance is the prompt, as in `diffpref.evaluate.winrate`; skipped pairs are left out and counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from diffpref.errors import DataError
from diffpref.evaluate.bootstrap import bootstrap_means
from diffpref.evaluate.opened import Opened
from diffpref.evaluate.winrate import sign_test
from diffpref.models.sample_settings import SampleSettings
from diffpref.rate.entries import Entry
from diffpref.rate.pair import Pair, Picture, pair_of
from diffpref.rate.studio import Halted, Turn, made_pictures

FOLDER = "study"
SIDES = ("a", "b")
SOURCE = "study"
FEW = 8
"""With fewer prompts the interval says little."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How often one person preferred A to B.

    `wins`, `ties` and `losses` are A's, of pairs; `same` of the ties were equal pictures nobody was
    asked about. `rate` has its bootstrap interval over `prompts`; all three are None without votes.
    """

    a: str
    b: str
    wins: int
    ties: int
    losses: int
    same: int
    skipped: int
    prompts: int
    rate: float | None
    low: float | None
    high: float | None
    sign_p: float | None

    @property
    def text(self) -> str:
        """Say it in one sentence."""
        if self.rate is None or self.low is None or self.high is None:
            return "no votes, no verdict" if not self.same else "the pictures of both are the same"
        told = f"{self.a} was preferred in {self.rate:.0%} ({self.low:.0%} to {self.high:.0%})"
        if self.prompts < FEW:
            return f"{told}; {self.prompts} prompts are too few to tell"
        if self.low > 0.5 or self.high < 0.5:
            better, other = (self.a, self.b) if self.low > 0.5 else (self.b, self.a)
            return f"{told}; {better} is preferred to {other} beyond chance"
        return f"{told}; this may be chance"

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "text": self.text}


@dataclass(kw_only=True)
class Study:
    """Which pair is of which prompt and seed, as pictures become known."""

    a: Opened
    b: Opened
    prompts: Sequence[str]
    seeds: Sequence[int]
    settings: SampleSettings
    places: dict[str, int] = field(default_factory=dict[str, int])
    same: list[int] = field(default_factory=list[int])

    def pairs(self, out: Path, *, lock: Turn, halted: Halted) -> Iterator[list[Pair]]:
        """Yield pairs whose first picture is A's, a few prompts at a time, as they are made.

        Raises:
            DataError: the folder holds another study.
        """
        a, b = (self._made(each, out / FOLDER / side, lock, halted) for each, side in self._sides())
        try:
            for first, second in zip(a, b, strict=False):  # halted, one may be ahead
                found: list[Pair] = []
                for (p, seed), picture in first.items():
                    other = second[p, seed]
                    if picture.key == other.key:
                        self.same.append(p)
                        continue
                    tag = f"{p}-{seed}"
                    pair = pair_of(self.prompts[p], picture, other, source=SOURCE, tag=tag)
                    self.places[pair.id] = p
                    found.append(pair)
                yield found
        except DataError as error:
            hint = "choose another --out: this folder holds another study"
            raise DataError(error.what, where=error.where, hint=hint) from error

    def _sides(self) -> list[tuple[Opened, str]]:
        return list(zip((self.a, self.b), SIDES, strict=True))

    def _made(
        self, opened: Opened, folder: Path, lock: Turn, halted: Halted
    ) -> Iterator[dict[tuple[int, int], Picture]]:
        return made_pictures(
            opened, self.settings, self.prompts, self.seeds, folder, lock=lock, halted=halted
        )

    def verdict(self, entries: Sequence[Entry]) -> Verdict:
        """Return the verdict of the answers that stand."""
        known = [each for each in entries if each.pair in self.places]
        votes = [(self.places[e.pair], e.scores[0]) for e in known if e.scores is not None]
        # Ended early, equal pictures further on were not reached either.
        over = len(known) == len(self.places)
        last = max((self.places[each.pair] for each in known), default=-1)
        same = [p for p in self.same if over or p <= last]
        return _verdict(self.names, votes, same=same, skipped=sum(each.skipped for each in known))

    @property
    def names(self) -> tuple[str, str]:
        a, b = self.a.name, self.b.name
        return (a, b) if a != b else (f"{a} (A)", f"{b} (B)")


def _verdict(
    names: tuple[str, str],
    votes: Sequence[tuple[int, float]],
    *,
    same: Sequence[int],
    skipped: int,
) -> Verdict:
    every = [*votes, *((p, 0.5) for p in same)]
    by_prompt: dict[int, list[float]] = {}
    for p, share in every:
        by_prompt.setdefault(p, []).append(share)
    means = torch.tensor([sum(each) / len(each) for each in by_prompt.values()]).double()
    about = {
        "a": names[0],
        "b": names[1],
        "wins": sum(share > 0.5 for _, share in every),
        "ties": sum(share == 0.5 for _, share in every),
        "losses": sum(share < 0.5 for _, share in every),
        "same": len(same),
        "skipped": skipped,
        "prompts": len(means),
    }
    if not votes:
        return Verdict(**about, rate=None, low=None, high=None, sign_p=None)
    span = bootstrap_means(means[None])[0]
    return Verdict(
        **about,
        rate=float(means.mean()),
        low=span.low,
        high=span.high,
        sign_p=sign_test(int((means > 0.5).sum()), int((means < 0.5).sum())),
    )
