"""People with planted tastes: embeddings drawn at random, a population, and their votes."""

import torch
from torch import Tensor

from diffpref.rewards.heads.embeddings import content_key
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.heads.pairs import Pairs
from diffpref.users.features import fit_whitening
from diffpref.users.learn import Spread
from diffpref.users.prior import Prior, rounded

D = 6
REF = EmbedderRef(scorer="toy", fingerprint="00")


def some_pairs(
    votes: int, *, seed: int = 0, people: int = 1, pictures: int = 200, ties: bool = False
) -> Pairs:
    """Random votes on random pictures; nobody has a taste."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.nn.functional.normalize(torch.randn(pictures, D, generator=rng), dim=1)
    prompts = torch.nn.functional.normalize(torch.randn(20, D, generator=rng), dim=1)
    half = pictures // 2
    share = torch.randint(0, 3 if ties else 2, (votes,), generator=rng).float()
    return Pairs(
        images=images,
        prompts=prompts,
        keys=tuple(content_key(f"{seed}/{row}".encode()) for row in range(pictures)),
        texts=tuple(f"prompt {row}" for row in range(20)),
        prompt=torch.randint(0, 20, (votes,), generator=rng),
        first=torch.randint(0, half, (votes,), generator=rng),
        second=torch.randint(half, pictures, (votes,), generator=rng),
        person=torch.arange(votes) % people,
        people=tuple(f"p{row}" for row in range(people)),
        share=share / 2 if ties else share,
        weight=torch.ones(votes),
    )


def swapped(pairs: Pairs) -> Pairs:
    """The same pairs with the opposite verdicts."""
    from dataclasses import replace

    return replace(pairs, share=1 - pairs.share)


def some_prior(*, mean: bool = False, rank: int = 3, name: str = "toy", seed: int = 3) -> Prior:
    """A population with random directions; `mean` gives it a taste in common."""
    rng = torch.Generator().manual_seed(seed)
    whitening = fit_whitening(some_pairs(400, seed=99), 5)
    p = whitening.width
    draw: Tensor = torch.randn(p, p, generator=rng, dtype=torch.float64)
    basis = torch.linalg.qr(draw)[0][:, :rank]
    spread = Spread(
        mean=torch.randn(p, generator=rng, dtype=torch.float64) * mean,
        basis=basis,
        strength=torch.linspace(1.5, 0.5, rank, dtype=torch.float64),
        floor=0.1,
    )
    rows = torch.randn(7, p, generator=rng)
    return Prior(name=name, embedder=REF, whitening=whitening, spread=rounded(spread), rows=rows)
