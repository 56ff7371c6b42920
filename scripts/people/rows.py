"""The rows of the card: whose vectors an adapter is told, and by whose taste images are chosen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.draws import generator
from diffpref.world.people import DEVIATION, PANELS, Person, population_taste
from scripts.people.booth import Booth, weights

ADAPTED: dict[str, tuple[str, str]] = {
    "taste: true": ("taste", "true"),
    "taste: attributes, 16 votes": ("taste", "attributes/16"),
    "taste: attributes, 4 votes": ("taste", "attributes/4"),
    "taste: random": ("taste", "random"),
    "bt: profile, 16 votes": ("bt", "profile/16"),
    "bt: profile, 4 votes": ("bt", "profile/4"),
}
"""Row -> adapter and the vectors it is told."""

CHOSEN = (
    "true",
    "attributes/16",
    "attributes/4",
    "profile/16",
    "profile/4",
    "random",
)
"""By what images of a pool are chosen."""

POOLS = ("base", "population")
PANEL_NAMES = ("clones", "opposites", "noise")
PANEL_SHOTS = 16
POOL_SHOTS = 200
"""Votes of each person that a panel's common taste is learned from."""


@dataclass(frozen=True, kw_only=True)
class Cast:
    """The people of a card, where they voted, and the taste of everyone, with fidelity's weight."""

    people: tuple[Person, ...]
    booth: Booth
    everyone: Float[Tensor, " b"]

    @property
    def tastes(self) -> Float[Tensor, "u a"]:
        return torch.stack([person.taste for person in self.people])

    def told(self, vectors: str) -> Float[Tensor, "v u"]:
        """Return the vectors of all people: `true`, `random`, `attributes/16`, `profile/4` ..."""
        kind, _, shots = vectors.partition("/")
        if kind == "random":
            rng = generator(0, 0, "people-card/random")
            return torch.randn(self.tastes.shape, generator=rng)
        if kind == "profile":
            prior = self.booth.prior
            found = [prior.embedding(self.booth.profile(each, int(shots))) for each in self.people]
            return torch.stack(found)
        return ((self.believed(vectors)[:, :-1] - population_taste()) / DEVIATION).float()

    def believed(self, by: str) -> Float[Tensor, "u b"]:
        """Return the tastes in attributes that are believed in, with fidelity's weight."""
        kind, _, shots = by.partition("/")
        if kind == "true":
            return torch.stack([weights(person.taste) for person in self.people])
        found = [self.booth.taste(each, int(shots), self.everyone) for each in self.people]
        return torch.stack([weights(taste) for taste in found])

    def panel(self, name: str) -> "Cast":
        """Return the same people with the panel's tastes; everyone's taste is then a pooled one."""
        humans = list(self.people)
        people = tuple(PANELS[name](humans, number) for number in range(len(humans)))
        pooled = self.booth.pooled(people, POOL_SHOTS)
        return replace(self, people=people, everyone=pooled)


def choice(
    cast: Cast, by: str, seen: Float[Tensor, "p n b"], features: Float[Tensor, "p n f"]
) -> list[list[int]]:
    """Return, for every person and prompt, which image of a pool is chosen.

    Args:
        cast: the people.
        by: one of CHOSEN, or `everyone` (the population, one choice for all), or `prior` (the
            bt population).
        seen: attributes and fidelity of the pool's images.
        features: a bt profile's features of them.
    """
    kind, _, shots = by.partition("/")
    count = len(cast.people)
    if kind == "random":
        rng = generator(0, 0, "people-card/chosen")
        return torch.randint(seen.shape[1], (count, len(seen)), generator=rng).tolist()
    worth = torch.cat([seen[..., :-1], 2 * seen[..., -1:]], dim=-1).double()
    if kind == "prior":
        scores = (features.double() @ cast.booth.prior.belief.mean)[None]
    elif kind == "everyone":
        scores = (worth @ cast.everyone)[None]
    elif kind == "profile":
        means = [cast.booth.profile(each, int(shots)).mean for each in cast.people]
        scores = torch.einsum("pnf,uf->upn", features.double(), torch.stack(means))
    else:
        scores = torch.einsum("pnb,ub->upn", worth, cast.believed(by))
    return scores.argmax(dim=-1).tolist()


def mixed(vectors: Float[Tensor, "v u"], share: float, pairs: int) -> Float[Tensor, "m u"]:
    """Return (1 - share) x one person + share x the next, for the first pairs of people."""
    first, second = vectors[0 : 2 * pairs : 2], vectors[1 : 2 * pairs : 2]
    return (1 - share) * first + share * second


def everyone() -> Float[Tensor, " b"]:
    """Return the population's taste with fidelity's weight."""
    return weights(population_taste())


def cast_of(people: Sequence[Person], booth: Booth) -> Cast:
    """Return the people of the card as they are, the true population known before they vote."""
    return Cast(people=tuple(people), booth=booth, everyone=everyone())
