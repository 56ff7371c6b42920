"""Planted people: embeddings drawn at random, and votes by tastes that are known."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from diffpref.rewards.heads import HEADS
from diffpref.rewards.heads.head import EmbedderRef, Head
from diffpref.rewards.heads.items import Features, scales_of
from diffpref.rewards.heads.kind import Shape
from diffpref.rewards.heads.pairs import Pairs, join

D = 6
REF = EmbedderRef(scorer="toy", fingerprint="00")

Utility = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(pictures [n d], prompts [n d], people [n]) -> utility [n]."""


def unit(rng: torch.Generator, rows: int, d: int = D) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, d, generator=rng), dim=1)


def pairs_of(
    images: Tensor, prompts: Tensor, index: Tensor, person: Tensor, share: Tensor, people: int
) -> Pairs:
    """Return pairs with columns (prompt, first, second) of `index`."""
    return Pairs(
        images=images,
        prompts=prompts,
        keys=tuple(bytes([i // 256, i % 256]) for i in range(len(images))),
        texts=tuple(f"prompt {i}" for i in range(len(prompts))),
        prompt=index[:, 0],
        first=index[:, 1],
        second=index[:, 2],
        person=person,
        people=tuple(f"p{i}" for i in range(people)),
        share=share,
        weight=torch.ones(len(index)),
    )


def planted(
    utility: Utility, *, people: int, votes: int, seed: int = 0, sharp: float = 4.0, d: int = D
) -> tuple[Pairs, Pairs, Tensor]:
    """Return training and test votes, and the exact log odds of the test votes."""
    rng = torch.Generator().manual_seed(seed)
    images, prompts = unit(rng, 400, d), unit(rng, 40, d)
    parts = []
    for count in (people * votes, people * 40):
        index = torch.stack(
            [
                torch.randint(0, 40, (count,), generator=rng),
                torch.randint(0, 200, (count,), generator=rng),
                torch.randint(200, 400, (count,), generator=rng),
            ],
            dim=1,
        )
        person = torch.arange(count) % people
        text = prompts[index[:, 0]]
        gap = utility(images[index[:, 1]], text, person) - utility(
            images[index[:, 2]], text, person
        )
        share = (torch.rand(count, generator=rng) < (sharp * gap).sigmoid()).float()
        parts.append((pairs_of(images, prompts, index, person, share, people), sharp * gap))
    return parts[0][0], parts[1][0], parts[1][1]


def accuracy(logit: Tensor, exact: Tensor) -> float:
    """Return the accuracy expected over votes that have these exact log odds."""
    chance = exact.sigmoid()
    return float(torch.where(logit > 0, chance, 1 - chance).mean())


def random_features(rng: torch.Generator, n: int, d: int = D) -> Features:
    draw = lambda *size: torch.randn(*size, generator=rng, dtype=torch.float64)  # noqa: E731
    return Features(image=draw(n, d), prompt=draw(n, d), base=draw(n))


def random_shared(name: str, shape: Shape, rng: torch.Generator) -> dict[str, Tensor]:
    """Return numbers of a head that have moved away from where they start; float64."""
    start = HEADS[name].start(shape, rng) | {"base": torch.tensor(0.7)}
    return {
        key: (value + 0.3 * torch.randn(value.shape, generator=rng)).double()
        for key, value in start.items()
    }


def random_head(name: str, pairs: Pairs, people: Mapping[str, Tensor] | None = None) -> Head:
    """Return an untrained head with random numbers on the scales of some pairs."""
    rng = torch.Generator().manual_seed(5)
    shape = Shape(d=pairs.images.shape[1], prompt=pairs.prompts.shape[1], groups=3, width=4)
    known = people or {}
    k = 3 if HEADS[name].personal else 0
    rows = [known[each] for each in known]
    return Head(
        name=name,
        shape=shape,
        embedder=REF,
        scales=scales_of(pairs.sides()[0]),
        shared={key: value.float() for key, value in random_shared(name, shape, rng).items()},
        people=tuple(known),
        offsets=torch.stack(rows) if rows else torch.zeros(0, k),
        precision=torch.eye(k),
        temperature=1.3,
    )


@pytest.fixture(scope="session")
def some_pairs() -> Pairs:
    """300 votes of 6 people with a taste in common."""
    train, test, _ = planted(lambda x, _c, _u: x[:, 0], people=6, votes=50)
    return join([train, test])
