"""The `Source` of an online run: a round of rollouts, the windows it gives, the next round."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil, gcd
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.errors import DataError
from diffpref.run.rollouts.asked import Prompts
from diffpref.run.rollouts.makers import Items, Maker, joined
from diffpref.run.rollouts.mixing import mixed
from diffpref.run.rollouts.origin import Fact, Origin
from diffpref.run.rollouts.rounds import Round, Rounds
from diffpref.run.rollouts.tally import Tally
from diffpref.types import Denoiser, Nets

EMPTY_ROUNDS = 5
"""Rounds in a row that may give nothing before the run stops."""

Progress = Callable[[int, int | None], None]
"""(prompts of the round sampled, prompts in all)."""


def _silent(*what: object) -> None:
    del what


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Rounds of the policy's own samples, each learned from for some steps.

    A round is written before it is learned from, so a run resumes inside one exactly. Every process
    samples its share of the prompts and then holds the items of all, in the order of the prompts:
    what is chosen, and the window it falls in, are those of one process. The item at place i of
    step s has the position s x per_step + i.

    Attributes:
        prompts: what is asked.
        maker: how items are made.
        rounds: where rounds are kept.
        sampler: the network that samples: the policy itself, or an average of it.
        seed: of all draws.
        per_step: items of one optimizer step over all processes.
        passes: how often a round's items are learned from.
        at_once: prompts sampled together.
        tally: counts. cost: rows of the networks that learning from so many items at once takes.
        gather: concatenates a tensor over processes.
        origin: how rounds are made, told in each.
        rank, world: this process and how many there are.
        say: told a sentence. progress: told while a round is sampled.
    """

    prompts: Prompts
    maker: Maker
    rounds: Rounds
    sampler: Denoiser
    seed: int
    per_step: int
    passes: int
    at_once: int
    tally: Tally
    cost: Callable[[int], int]
    gather: Callable[[Tensor], Tensor]
    origin: Origin = field(default_factory=dict[str, Fact])
    rank: int = 0
    world: int = 1
    say: Callable[[str], None] = _silent
    progress: Progress = _silent
    _latest: dict[str, float] = field(default_factory=dict[str, float], init=False, repr=False)

    def __call__(self, nets: Nets, first: int) -> Iterator[Any]:
        """Yield this process's part of every window from step `first` on, for ever.

        Raises:
            DataError: several rounds in a row gave nothing to learn from.
            CheckpointError: the round that step `first` learns from is gone.
        """
        del nets  # the sampler holds the policy without a wrapper that would synchronise
        if self.rank == 0:
            self.rounds.forget(first)
        self.gather(torch.zeros(1, device=self.prompts.bundle.device))  # the others wait for that
        made, step, empty = self.rounds.holding(first), first, 0
        last = made or self.rounds.before(first)
        number = 0 if last is None else last.number + (made is None)
        if last is not None:
            self._recall(last, first)
        while True:
            made = self._make(number, step) if made is None else made
            empty = 0 if made.windows else empty + 1
            if empty == EMPTY_ROUNDS:
                raise self._nothing()
            while step < made.first + made.windows:
                self.tally.learning += self.cost(len(self._share(made, step)))
                yield self.window(made, step)
                step += 1
            made, number = None, number + 1

    def report(self) -> Mapping[str, float]:
        """Return what the latest round was like, and the counts so far; all must call."""
        return {**self._latest, **self.tally.report()}

    def _make(self, number: int, step: int) -> Round:
        """Sample a round, keep what is worth learning from, and write it."""
        positions = self.prompts.of_round(number, rank=self.rank, world=self.world)
        with torch.no_grad():
            items = self._everyones(joined(self._sampled(positions)))
        chosen = self.maker.chosen(items)
        self._note(items, chosen)
        kept = {name: tensor[chosen] for name, tensor in items.items()}
        windows = self.windows(len(chosen))
        made = Round(
            number=number,
            first=step,
            windows=windows,
            items=kept,
            about=self.report(),
            origin=self.origin,
            texts=self._texts(number),
        )
        if not made.windows:
            self.say(f"round {number}: no items passed the filter; sampling anew")
        if self.rank == 0:
            self.rounds.save(made)
        return made

    def _texts(self, number: int) -> dict[int, str]:
        """Return the prompts of a round by their positions, on all processes."""
        positions = self.prompts.of_round(number, rank=0, world=1)
        asked = self.prompts.indices(positions)
        return {int(p): self.prompts.texts[i] for p, i in zip(positions, asked, strict=True)}

    def _everyones(self, mine: Items) -> Items:
        """Return the items of all processes, by prompt; a prompt's own stay in their order."""
        device, items = self.prompts.bundle.device, mine
        if self.world > 1:
            items = {name: self.gather(each.to(device)).cpu() for name, each in mine.items()}
        order = items["asked"].argsort(stable=True)
        return {name: tensor[order] for name, tensor in items.items()}

    def _sampled(self, positions: Int[Tensor, " b"]) -> Iterator[Items]:
        net = self.tally.counted(self.sampler)
        for start in range(0, len(positions), self.at_once):
            part = positions[start : start + self.at_once]
            self.progress(start, len(positions))
            yield self.maker.make(net, self.prompts.batch(part), Draws(self.seed, part))
        self.progress(len(positions), len(positions))

    def windows(self, items: int) -> int:
        """Return the optimizer steps that so many items feed."""
        return max(1, round(items * self.passes / self.per_step)) if items else 0

    def window(self, made: Round, step: int) -> Any:
        """Return this process's part of what one step learns from."""
        place, taken = self._places(made), self._share(made, step)
        items = {name: tensor[taken] for name, tensor in made.items.items()}
        return self.maker.window(items, place + step * self.per_step)

    def _share(self, made: Round, step: int) -> Int[Tensor, " m"]:
        """Return which items of its round a step learns from on this process.

        Steps take `per_step` items, so a round's last step may meet some once more or leave some
        out; a round of fewer is one smaller step. The timesteps of every step are mixed as they
        are in the whole round, see `mixed`.
        """
        turns = range(made.number * self.passes, (made.number + 1) * self.passes)
        order = torch.cat([mixed(self.seed, turn, made.items) for turn in turns])
        start = (step - made.first) * self._size(made)
        return order[(self._places(made) + start) % len(order)]

    def _places(self, made: Round) -> Int[Tensor, " m"]:
        """Return this process's places in each step of a round."""
        return torch.arange(self.rank, self._size(made), self.world)

    def _size(self, made: Round) -> int:
        """Return the items of a step, which any number of processes allowed can share evenly."""
        unit = gcd(self.per_step, self.prompts.per_round)
        return min(self.per_step, ceil(len(made) * self.passes / unit) * unit)

    def _note(self, items: Items, chosen: Int[Tensor, " m"]) -> None:
        """Remember what the round was like."""
        reward, gap = items["reward"].float(), items["gap"].float()
        self._latest.update(
            {
                "rollout/reward": float(reward.mean()),
                "rollout/reward_std": float(reward.std(correction=0)),
                "rollout/gap": float(gap.mean()),
                "rollout/kept": len(chosen) / len(reward),
            }
        )

    def _recall(self, made: Round, first: int) -> None:
        """Take up the report of a round that was made before this process began."""
        if self.rank == 0:  # counts are added up over processes
            self.tally.restore(made.about)
        for step in range(made.first, min(first, made.first + made.windows)):
            self.tally.learning += self.cost(len(self._share(made, step)))
        self._latest.update({k: v for k, v in made.about.items() if k.startswith("rollout/")})

    def _nothing(self) -> DataError:
        return DataError(
            f"{EMPTY_ROUNDS} rounds in a row gave no items to learn from",
            where="rollout",
            hint="lower method.min_gap where the method has one, or choose a reward that tells the "
            "policy's images apart",
        )
