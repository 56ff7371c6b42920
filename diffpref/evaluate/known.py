r"""What is exactly true of votes on the bundled world: utilities, tastes, and ceilings.

own         the voter's exact utility: no one foresees noisy votes better
population  the utility of everyone's mean taste: the best without knowing the voter
attainable  the voter's taste, fitted to the votes the head saw of them, in the exact attributes
            and under the true prior: the best that those votes allow
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.data.readers import RecordSource
from diffpref.data.records import BadRow, Record
from diffpref.io import open_image
from diffpref.io.images import read_image_bytes
from diffpref.rewards.heads.embeddings import content_key
from diffpref.rewards.heads.items import Items, Scales, features
from diffpref.rewards.heads.pairs import Pairs
from diffpref.rewards.inputs import to_pixels
from diffpref.types import PerRow
from diffpref.world.crowd import bundled_crowd
from diffpref.world.oracle import fidelity
from diffpref.world.people import (
    DEVIATION,
    FIDELITY_WEIGHT,
    LAPSE,
    TEMPERATURE,
    choice_probability,
    population_taste,
)
from diffpref.world.taste import attributes

CHUNK = 512
STEPS = 40
RIDGE = 10.0
"""Of the regression of attributes on embeddings, in standardised units."""

Place = dict[tuple[bytes, str], int]
"""Content key and prompt of a picture -> its row."""

Taste = Float[Tensor, " a"]
"""Weights of the attributes; prompt fidelity, the last, weighs the same for everyone."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Attributes of every picture of a table of pairs, and the tastes of its people."""

    values: Float[Tensor, "i a"]
    tastes: Mapping[str, Taste]
    population: Taste

    def gaps(self, pairs: Pairs) -> Float[Tensor, "n a"]:
        """Return the attributes of the first picture minus those of the second."""
        return self.values[pairs.first] - self.values[pairs.second]

    def own(self, pairs: Pairs) -> PerRow:
        """Return the difference of the voter's exact utilities."""
        return self.under(self.tastes, pairs)

    def under(self, tastes: Mapping[str, Taste], pairs: Pairs) -> PerRow:
        """Return utility differences under given tastes; who is absent has everyone's."""
        rows = [tastes.get(name, self.population) for name in pairs.people]
        return (self.gaps(pairs) * torch.stack(rows)[pairs.person]).sum(dim=1)

    def everyone(self, pairs: Pairs) -> PerRow:
        """Return the difference of the population's exact utilities."""
        return self.gaps(pairs) @ self.population

    def probability(self, pairs: Pairs) -> PerRow:
        """Return how probable it was that the voter prefers the first picture."""
        human = next(iter(bundled_crowd().values()))
        return choice_probability(human, self.own(pairs), torch.zeros(len(pairs)).double())


def read_truth(sources: Mapping[str, RecordSource], pairs: Pairs) -> Truth:
    """Measure every picture of the bundled pairs for its prompt."""
    place: Place = {}
    for side in (pairs.first, pairs.second):
        for row, prompt in zip(side.tolist(), pairs.prompt.tolist(), strict=True):
            place[(pairs.keys[row], pairs.texts[prompt])] = row
    values = torch.full(
        (len(pairs.keys), 1 + len(population_taste())), torch.nan, dtype=torch.float64
    )
    pending: list[tuple[int, Tensor, str]] = []
    for source in sources.values():
        for record in source.rows():
            if not isinstance(record, BadRow):
                pending += _pictures(record, place)
            if len(pending) >= CHUNK:
                _measure(values, pending)
                pending = []
    _measure(values, pending)
    whole = torch.ones(1, dtype=torch.float64)
    return Truth(
        values=values,
        tastes={
            name: torch.cat([person.taste.double(), whole])
            for name, person in bundled_crowd().items()
        },
        population=torch.cat([population_taste().double(), whole]),
    )


def attainable_taste(truth: Truth, votes: Pairs) -> Taste:
    """Return the most probable taste of the one person whose votes these are.

    The prior is the true one, N(population, DEVIATION^2) per attribute; the fidelity weight and
    the noise of votes are known. Maximised in float64.
    """
    gaps, share = truth.gaps(votes), votes.share.double()
    offset = torch.zeros(gaps.shape[1] - 1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([offset], max_iter=STEPS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        solver.zero_grad()
        utility = gaps @ truth.population + gaps[:, :-1] @ offset
        chance = LAPSE / 2 + (1 - LAPSE) * (utility / TEMPERATURE).sigmoid()
        value = -(share * chance.log() + (1 - share) * (1 - chance).log()).sum()
        value = value + (offset / DEVIATION).square().sum() / 2
        torch.autograd.backward(value)
        return value

    if len(votes):
        solver.step(objective)
    return truth.population + torch.cat([offset.detach(), torch.zeros(1, dtype=torch.float64)])


def through_features(truth: Truth, train: Pairs, test: Pairs, scales: Scales) -> Truth:
    """Return the truth with test pictures' attributes replaced by what a head's features show.

    That is a ridge regression of the exact attributes on all features and the cosine with the
    prompt, learned from the training pictures; other pictures' attributes become NaN.
    """
    rows, inputs = _inputs(train, scales)
    mean, spread = inputs.mean(dim=0), inputs.std(dim=0).clamp(min=1e-12)
    known = _with_one((inputs - mean) / spread)
    ridge = RIDGE * torch.eye(known.shape[1], dtype=torch.float64)
    slope = torch.linalg.solve(known.T @ known + ridge, known.T @ truth.values[rows])
    values = torch.full_like(truth.values, torch.nan)
    rows, inputs = _inputs(test, scales)
    values[rows] = _with_one((inputs - mean) / spread) @ slope
    return replace(truth, values=values)


def _inputs(pairs: Pairs, scales: Scales) -> tuple[Int[Tensor, " m"], Float[Tensor, "m f"]]:
    """Return the pictures in use, each once, with what a head reads of them."""
    rows = torch.cat([pairs.first, pairs.second])
    prompt = torch.full((len(pairs.images),), -1, dtype=torch.long)
    prompt[rows] = pairs.prompt.repeat(2)
    rows = rows.unique()
    found = features(Items(image=pairs.images[rows], prompt=pairs.prompts[prompt[rows]]), scales)
    return rows, torch.cat([found.image, found.base[:, None]], dim=1).double()


def _with_one(values: Float[Tensor, "m f"]) -> Float[Tensor, "m g"]:
    return torch.cat([values, torch.ones(len(values), 1, dtype=values.dtype)], dim=1)


def _pictures(record: Record, place: Place) -> list[tuple[int, Tensor, str]]:
    found: list[tuple[int, Tensor, str]] = []
    for image in record.images:
        content = image.content
        data = content if isinstance(content, bytes) else read_image_bytes(content)
        row = place.get((content_key(data), record.prompt))
        if row is not None:
            pixels = to_pixels(open_image(data, where=record.where))[0]
            found.append((row, pixels, record.prompt))
    return found


def _measure(values: Float[Tensor, "i a"], pending: list[tuple[int, Tensor, str]]) -> None:
    if not pending:
        return
    rows, pixels, prompts = zip(*pending, strict=True)
    images = torch.stack(pixels)
    kept = fidelity(images, prompts).double()
    values[list(rows), :-1] = attributes(images).double()
    values[list(rows), -1] = FIDELITY_WEIGHT * kept
