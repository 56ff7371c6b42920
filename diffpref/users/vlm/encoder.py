"""The `vlm` user encoder of a run: standardised hidden states of a person's choices."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from json import dumps

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.data.support import SupportPair
from diffpref.users.vlm.standard import Standard
from diffpref.users.vlm.states import States, identity_of

MOST = 4
"""Pairs of one conversation, as PPD shows them."""


def groups(support: Sequence[SupportPair], most: int) -> list[Sequence[SupportPair]]:
    """Cut choices into conversations of at most `most` pairs, in their order."""
    return [support[start : start + most] for start in range(0, len(support), most)]


@dataclass(frozen=True, kw_only=True)
class VlmEncoder:
    """Implements `UserEncoder`: the mean over a person's conversations of (h - mean) W.

    most: pairs of one conversation; more choices are read in several.
    """

    states: States = field(repr=False)
    standard: Standard = field(repr=False)
    most: int = MOST

    @property
    def width(self) -> int:
        return self.standard.width

    @property
    def fingerprint(self) -> str:
        """What the numbers mean: the model, its question, what is read, and the standard."""
        total = blake2b(digest_size=8)
        total.update(dumps([identity_of(self.states.reader), self.most]).encode())
        for tensor in (self.standard.mean, self.standard.matrix):
            total.update(tensor.contiguous().numpy().tobytes())
        return f"vlm/{self.states.reader.layout}/{total.hexdigest()}"

    def __call__(self, support: Sequence[SupportPair], /) -> Float[Tensor, " u"]:
        """Return the vector, float32; zeros without choices."""
        if not support:
            return torch.zeros(self.width)
        rows = torch.stack([self.states(part) for part in groups(support, self.most)])
        return self.standard(rows).mean(dim=0)
