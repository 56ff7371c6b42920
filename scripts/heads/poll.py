"""The bundled people vote more, on pictures that their votes have not shown the embedder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from diffpref.draws import generator
from diffpref.evaluate.judged import judged
from diffpref.evaluate.taste import census
from diffpref.rewards.heads.pairs import Pairs
from scripts.heads.worlds import World


@dataclass(frozen=True, kw_only=True)
class Poll:
    """The bundled people, and pictures that their votes have not shown the embedder.

    learned, asked: every two pictures of prompts to learn from and to be tested on.
    tuned: every two pictures of as many prompts that the embedder was tuned on.
    old, new: people to train on, and those of the bundled test part.
    """

    world: World
    learned: Pairs
    tuned: Pairs
    asked: Pairs
    old: tuple[str, ...]
    new: tuple[str, ...]

    def votes(self, table: Pairs, people: Sequence[str], each: int, seed: int, what: str) -> Pairs:
        """Return `each` votes of every person on random pairs of a table."""
        rng = generator(seed, each, f"poll/{what}")
        mine = [table.people.index(name) for name in people]
        rows = torch.randint(0, len(table), (each * len(mine),), generator=rng)
        asked = replace(table.rows(rows), person=torch.tensor(mine).repeat(each))
        luck = torch.rand(len(rows), generator=rng, dtype=torch.float64)
        return replace(asked, share=(luck < self.world.truth.probability(asked)).float())

    def expected(self, logit: torch.Tensor, asked: Pairs) -> float:
        """Return the accuracy expected over all votes that might be given."""
        return judged(logit, self.world.truth.probability(asked), asked.person).accuracy


def make_poll(world: World) -> Poll:
    """Return the people and pictures of the second part; even test prompts are to learn from."""
    pairs = world.pairs
    at = {part: torch.tensor([each == part for each in world.parts]) for part in set(world.parts)}
    new = tuple(pairs.rows(at["test"]).voters())
    held = at["test"] & (pairs.prompt % 2 == 1)
    unseen = ~at["train"] & ~held
    prompts = pairs.rows(at["train"]).prompt.unique()[: len(pairs.rows(unseen).prompt.unique())]
    nobody = ("everyone",)
    tables = replace(pairs, people=(*pairs.people, *nobody))
    learned, tuned, asked = (
        replace(census(tables.rows(rows), nobody), people=pairs.people)
        for rows in (unseen, torch.isin(pairs.prompt, prompts) & at["train"], held)
    )
    old = tuple(name for name in world.truth.tastes if name not in new)
    return Poll(world=world, learned=learned, tuned=tuned, asked=asked, old=old, new=new)


def apart(votes: Pairs, table: Pairs) -> tuple[Pairs, Pairs]:
    """Return votes to train on, and those of every tenth prompt, for early stopping."""
    prompts = table.prompt.unique()
    last = torch.isin(votes.prompt, prompts[torch.arange(len(prompts)) % 10 == 0])
    return votes.rows(~last), votes.rows(last)
