"""A population of synthetic people: a shared taste, individual deviations, and human-like noise.

    r_u(x, c) = w_u . a(x) - 2 (1 - fidelity(x, c)),     w_u ~ N(m, 0.5^2)
    P(u prefers x to y) = lapse / 2 + (1 - lapse) sigma( (r_u(x, c) - r_u(y, c)) / temperature )

a are the bounded attributes of `taste`; the population's own utility has w = m.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.draws import Draws
from diffpref.errors import UsageError, nearest
from diffpref.world.oracle import fidelity
from diffpref.world.taste import MEASURES, attributes

POPULATION: Mapping[str, float] = {
    "luminance": 0.4,
    "warmth": 0.9,
    "colourfulness": 0.8,
    "contrast": 0.5,
    "edge_energy": 0.2,
    "coverage": 0.6,
    "symmetry": 0.3,
    "centring": 0.4,
}
"""m: what people like on average, per attribute."""

DEVIATION = 0.5
"""Standard deviation of a person's weight around the population's, per attribute."""

FIDELITY_WEIGHT = 2.0
"""What a picture that shows nothing of its prompt loses."""

TEMPERATURE = 0.4
"""Scale of the choice noise; with LAPSE it makes a person repeat a vote 75-80 % of the time."""

LAPSE = 0.04
"""How often a person votes without looking."""

TIE = 1e-6
"""Utilities closer than this are a tie."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """One synthetic judge."""

    name: str
    taste: Float[Tensor, " a"]
    temperature: float = TEMPERATURE
    lapse: float = LAPSE


def population_taste() -> Float[Tensor, " a"]:
    """Return m as a tensor, in the order of the attributes."""
    return torch.tensor([POPULATION[name] for name in MEASURES])


def utility(
    images: Float[Tensor, "n 3 y x"],
    captions: tuple[str, ...],
    taste: Float[Tensor, " a"] | None = None,
) -> Float[Tensor, " n"]:
    """Return the exact utility of images for a taste; the population's by default.

    Raises:
        DataError: a caption is not of the world.
    """
    weights = population_taste() if taste is None else taste
    images = images.detach().float().cpu()
    return attributes(images) @ weights - FIDELITY_WEIGHT * (1 - fidelity(images, captions))


def people(seed: int, count: int, panel: str = "human") -> list[Person]:
    """Return a panel of people.

    Args:
        seed: of the tastes.
        count: how many people.
        panel: human; clean (no noise); clones (everyone has the population's taste); opposites
            (person i + 1 dislikes what person i likes, prompt fidelity aside); noise (votes are
            coin flips).

    Raises:
        UsageError: the panel is unknown.
    """
    if panel not in PANELS:
        raise UsageError(f"unknown panel '{panel}'", where="panel", hint=nearest(panel, PANELS))
    offset = Draws(seed, torch.arange(count)).normal("person/taste", (len(MEASURES),))
    tastes = population_taste() + DEVIATION * offset
    humans = [Person(name=f"person-{i:04d}", taste=taste) for i, taste in enumerate(tastes)]
    return [PANELS[panel](humans, i) for i in range(count)]


def choice_probability(
    person: Person, first: Float[Tensor, " n"], second: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Return P(the person prefers the first image) from the person's own utilities."""
    gap = first - second
    sure = (gap.sign() + 1) / 2 if person.temperature == 0 else (gap / person.temperature).sigmoid()
    return person.lapse / 2 + (1 - person.lapse) * torch.where(gap.abs() < TIE, 0.5, sure)


def self_consistency(probability: Float[Tensor, " n"]) -> float:
    """Return how often a person who votes twice on each pair votes the same way both times."""
    return float((probability.square() + (1 - probability).square()).mean())


PANELS: Mapping[str, Callable[[list[Person], int], Person]] = {
    "human": lambda humans, i: humans[i],
    "clean": lambda humans, i: replace(humans[i], temperature=0.0, lapse=0.0),
    "clones": lambda humans, i: replace(humans[i], taste=population_taste()),
    "opposites": lambda humans, i: replace(
        humans[i], taste=humans[i - i % 2].taste * (1 - 2 * (i % 2))
    ),
    "noise": lambda humans, i: replace(humans[i], lapse=1.0),
}
