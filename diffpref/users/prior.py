"""A population: whose embeddings, which whitening, and how tastes are spread over its people."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.heads.pairs import Pairs
from diffpref.users.features import Whitening
from diffpref.users.learn import Spread
from diffpref.users.posterior import Belief, Gaps, stored


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is known of a person before they vote.

    Attributes:
        name: what profiles call it; a bundled name or the stem of its file.
        embedder: whose embeddings it reads.
        whitening: from embeddings to features.
        spread: of tastes; numbers are rounded to float32, as the file holds them.
        rows: tastes of people it was learned from, for the `table` encoder; nameless.
        about: how it was learned, for people to read; part of no hash.
    """

    name: str
    embedder: EmbedderRef
    whitening: Whitening
    spread: Spread
    rows: Float[Tensor, "u p"]
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def size(self) -> int:
        """Length of a profile's embedding: two numbers for each direction people differ in."""
        return 2 * self.spread.basis.shape[1]

    @cached_property
    def belief(self) -> Belief:
        """What is believed of a person without votes."""
        return stored(self.spread.belief())

    @cached_property
    def encoder_sha256(self) -> str:
        """Hash of what makes features of pictures: the embedder's weights and the whitening."""
        words = f"{self.embedder.scorer} {self.embedder.fingerprint}"
        return digest(words, self.whitening.mean, self.whitening.matrix)

    @cached_property
    def sha256(self) -> str:
        """Hash of everything that decides a profile: the encoder, the spread and the rows."""
        spread = self.spread
        floor = torch.tensor(spread.floor, dtype=torch.float64)
        tensors = (spread.mean, spread.basis, spread.strength, floor, self.rows)
        return digest(self.encoder_sha256, *tensors)

    @torch.no_grad()
    def gaps(self, pairs: Pairs) -> Gaps:
        """Return votes as whitened feature differences, float32."""
        first, second = pairs.sides()
        gap = self.whitening(first) - self.whitening(second)
        return Gaps(gap=gap, share=pairs.share.float(), weight=pairs.weight.float())

    def embedding(self, belief: Belief) -> Float[Tensor, " e"]:
        r"""Return who somebody is, for a generator; float32, 2r numbers.

        The first r are Lambda^{-1/2} B^T (w - m), how far the person stands from everyone along
        the directions people differ in; the last r are log( posterior std / prior std ) along
        them. Without votes all are 0.
        """
        spread = self.spread
        apart = (spread.basis.T @ (belief.mean - spread.mean)) / spread.strength.sqrt()
        after = ((belief.cov @ spread.basis) * spread.basis).sum(dim=0)
        before = ((self.belief.cov @ spread.basis) * spread.basis).sum(dim=0)
        return torch.cat([apart, (after / before).log() / 2]).float()


def rounded(spread: Spread) -> Spread:
    """Return the spread as a file will hold it: float32 numbers, kept as float64."""

    def once(value: Tensor) -> Tensor:
        return value.float().double()

    floor = float(torch.tensor(spread.floor, dtype=torch.float32))
    return Spread(
        mean=once(spread.mean),
        basis=once(spread.basis),
        strength=once(spread.strength),
        floor=floor,
    )


def digest(words: str, *tensors: Tensor) -> str:
    """Return the SHA-256 of words and numbers, as float32."""
    total = sha256(words.encode())
    for tensor in tensors:
        total.update(str(tuple(tensor.shape)).encode())
        total.update(tensor.detach().float().contiguous().numpy().tobytes())
    return total.hexdigest()
