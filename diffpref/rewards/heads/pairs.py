"""Voted pairs of embedded pictures: two tables of embeddings and rows that point into them."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diffpref.rewards.heads.items import Items

NOBODY = -1
"""The person of a vote whose voter is unknown."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Votes, one row each, on two pictures of one prompt.

    images, prompts: as in `Items`; keys: the pictures' content keys; texts: the prompts themselves.
    prompt, first, second: rows of those tables.
    person: place in `people`, or NOBODY.
    share: the first picture's share of the vote: 1, 0, or 1/2 for a tie.
    weight: how much a row counts in the loss; above 0.
    """

    images: Float[Tensor, "i d"]
    prompts: Float[Tensor, "p e"]
    keys: tuple[bytes, ...]
    texts: tuple[str, ...]
    prompt: Int[Tensor, " n"]
    first: Int[Tensor, " n"]
    second: Int[Tensor, " n"]
    person: Int[Tensor, " n"]
    people: tuple[str, ...]
    share: Float[Tensor, " n"]
    weight: Float[Tensor, " n"]

    def __len__(self) -> int:
        return self.prompt.shape[0]

    def rows(self, index: Int[Tensor, " m"] | Bool[Tensor, " n"]) -> "Pairs":
        """Return some of the rows; the tables stay as they are."""
        return replace(
            self,
            prompt=self.prompt[index],
            first=self.first[index],
            second=self.second[index],
            person=self.person[index],
            share=self.share[index],
            weight=self.weight[index],
        )

    def sides(self) -> tuple[Items, Items]:
        """Return the first and the second picture of every row."""
        prompt = self.prompts[self.prompt]
        return (
            Items(image=self.images[self.first], prompt=prompt),
            Items(image=self.images[self.second], prompt=prompt),
        )

    def voters(self) -> list[str]:
        """Return the people who have a vote here, in their order in `people`."""
        return [self.people[i] for i in self.person.unique().tolist() if i != NOBODY]

    def of(self, name: str) -> "Pairs":
        """Return one person's rows."""
        return self.rows(self.person == self.people.index(name))


def join(parts: "list[Pairs]") -> Pairs:
    """Put rows over the same tables together."""
    first = parts[0]
    return replace(
        first,
        prompt=torch.cat([each.prompt for each in parts]),
        first=torch.cat([each.first for each in parts]),
        second=torch.cat([each.second for each in parts]),
        person=torch.cat([each.person for each in parts]),
        share=torch.cat([each.share for each in parts]),
        weight=torch.cat([each.weight for each in parts]),
    )
