"""Sources that make no rounds: rounds of an earlier run, and bare prompts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch

from diffpref.errors import DataError
from diffpref.run.rollouts.asked import Prompts
from diffpref.run.rollouts.origin import check_origin
from diffpref.run.rollouts.source import Rollouts
from diffpref.run.rollouts.tally import Tally
from diffpref.types import Nets, PromptBatch


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The `Source` of a run on an earlier run's rounds: their windows in turn, again and again."""

    rollouts: Rollouts

    def __call__(self, nets: Nets, first: int) -> Iterator[Any]:
        """Yield this process's part of every window from step `first` on, for ever.

        Raises:
            DataError: the folder holds no rounds with items.
            ConfigError: they were made in another way than this run would make them.
        """
        del nets
        rounds = self.rollouts.rounds
        places: list[tuple[int, int]] = []
        for number in rounds.numbers():
            made = rounds.read(number)
            check_origin(
                self.rollouts.origin,
                made.origin,
                reads=self.rollouts.maker.reads,
                where=str(rounds.folder),
            )
            places += [(number, place) for place in range(self.rollouts.windows(len(made)))]
        if not places:
            raise DataError(
                "holds no rounds to learn from",
                where=f"rollout.frozen: {rounds.folder}",
                hint="give the rollouts/ folder of an online run",
            )
        for step in count(first):
            number, place = places[step % len(places)]
            made = replace(rounds.read(number), first=step - place)
            yield self.rollouts.window(made, step)

    def report(self) -> Mapping[str, float]:
        """Return the counts of this run: nothing is sampled."""
        return self.rollouts.report()


@dataclass(frozen=True, kw_only=True)
class PromptWindows:
    """The `Source` of methods that sample while they learn: nothing but prompts.

    The prompt at place i of step s has the position s x per_step + i.
    """

    prompts: Prompts
    per_step: int
    tally: Tally
    rank: int = 0
    world: int = 1

    def __call__(self, nets: Nets, first: int) -> Iterator[PromptBatch]:
        """Yield this process's prompts of every step from `first` on, for ever."""
        del nets
        for step in count(first):
            start = step * self.per_step
            places = torch.arange(start + self.rank, start + self.per_step, self.world)
            yield self.prompts.batch(places)

    def report(self) -> Mapping[str, float]:
        """Return the counts since this process began: nothing is kept of earlier ones."""
        return self.tally.report()
