r"""What a taste looks at: a picture's embedding and its own score, whitened on voted pairs.

    phi(x, c) = ( cos(e_x, e_c), e_x ),      z = (phi - mean) M

e_x, e_c are unit embeddings of a two-tower scorer. The first coordinate of z is the scorer's own
cosine over its spread; the others are principal directions of e_first - e_second over the pairs
voted on, each divided by its spread, so that differences have unit variance.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.rewards.heads.items import Items, cosine
from diffpref.rewards.heads.pairs import Pairs

LEAST = 1e-6
"""Directions whose variance is below this share of the largest carry nothing but rounding."""


@dataclass(frozen=True, kw_only=True)
class Whitening:
    """The affine map from phi to z; z has mean 0 over the pictures it was made from."""

    mean: Float[Tensor, " f"]
    matrix: Float[Tensor, "f p"]

    @property
    def width(self) -> int:
        return self.matrix.shape[1]

    def __call__(self, items: Items) -> Float[Tensor, "n p"]:
        """Return z, differentiably, in the precision of the embeddings."""
        mean, matrix = self.mean.to(items.image), self.matrix.to(items.image)
        return (raw(items) - mean) @ matrix


def raw(items: Items) -> Float[Tensor, "n f"]:
    """Return phi: the own cosine, then the picture's embedding."""
    return torch.cat([cosine(items)[:, None], items.image], dim=1)


def fit_whitening(pairs: Pairs, width: int) -> Whitening:
    """Return the whitening of pairs; `width` directions of the embedding at most.

    Args:
        pairs: voted on by many people; who preferred what is not read.
        width: how many principal directions to keep.
    """
    first, second = (raw(each).double() for each in pairs.sides())
    both, gap = torch.cat([first, second]), first - second
    values, vectors = torch.linalg.eigh(gap[:, 1:].T @ gap[:, 1:] / len(gap))
    values, vectors = values.flip(0), vectors.flip(1)
    kept = min(width, int((values > LEAST * values[0]).sum()))
    directions = vectors[:, :kept]
    most = directions.abs().argmax(dim=0)
    directions = directions * directions[most, torch.arange(kept)].sign()
    matrix = torch.zeros(both.shape[1], 1 + kept, dtype=torch.float64)
    matrix[0, 0] = 1 / gap[:, 0].square().mean().sqrt().clamp(min=1e-12)
    matrix[1:, 1:] = directions / values[:kept].sqrt()
    return Whitening(mean=both.mean(dim=0).float(), matrix=matrix.float())
