"""One person's votes as a profile may keep them: feature differences and hashes, no pictures."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diffpref.rewards.heads.pairs import Pairs
from diffpref.users.posterior import Gaps
from diffpref.users.prior import Prior
from diffpref.users.words import WORDS

ID_BYTES = 8
NO_PICTURE = bytes(ID_BYTES)
"""Stands for the population's mean picture, which a like without a pair is compared with."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Votes in the order of their ids, each once, so that equal sets are equal bit for bit.

    first, second: hashes of the two pictures, which tell pairs that share one apart from others.
    gap: whitened feature differences; looks: differences of the attributes of `words`, 0 where
    they were not measured.
    """

    ids: tuple[str, ...]
    first: tuple[bytes, ...]
    second: tuple[bytes, ...]
    gap: Float[Tensor, "n p"]
    looks: Float[Tensor, "n a"]
    share: Float[Tensor, " n"]
    weight: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def strength(self) -> float:
        """How many decided votes these are worth: ties count nothing."""
        return float((self.weight.double() * (2 * self.share.double() - 1).abs()).sum())

    def gaps(self) -> Gaps:
        return Gaps(gap=self.gap, share=self.share, weight=self.weight)

    def seen(self) -> Gaps:
        """Return the votes in attributes instead of features."""
        return Gaps(gap=self.looks, share=self.share, weight=self.weight)

    def rows(self, index: Sequence[int]) -> "Evidence":
        """Return some of the votes, sorted by id, each once."""
        unique = {self.ids[row]: row for row in index}
        order = [unique[name] for name in sorted(unique)]
        return Evidence(
            ids=tuple(self.ids[row] for row in order),
            first=tuple(self.first[row] for row in order),
            second=tuple(self.second[row] for row in order),
            gap=self.gap[order],
            looks=self.looks[order],
            share=self.share[order],
            weight=self.weight[order],
        )

    def union(self, other: "Evidence") -> "Evidence":
        """Return both; a vote that is in both counts once."""
        whole = Evidence(
            ids=self.ids + other.ids,
            first=self.first + other.first,
            second=self.second + other.second,
            gap=torch.cat([self.gap, other.gap]),
            looks=torch.cat([self.looks, other.looks]),
            share=torch.cat([self.share, other.share]),
            weight=torch.cat([self.weight, other.weight]),
        )
        return whole.rows(range(len(whole)))

    def without(self, ids: Collection[str]) -> "Evidence":
        return self.rows([row for row, name in enumerate(self.ids) if name not in ids])

    def related(self) -> Bool[Tensor, "n n"]:
        """Return which votes share a picture; every vote with itself."""
        place = {key: row for row, key in enumerate({*self.first, *self.second} - {NO_PICTURE})}
        seen = torch.zeros(len(self), len(place))
        for row, keys in enumerate(zip(self.first, self.second, strict=True)):
            seen[row, [place[key] for key in keys if key in place]] = 1
        return seen @ seen.T > 0


def evidence_of(
    prior: Prior, pairs: Pairs, looks: Mapping[bytes, Float[Tensor, " a"]] | None = None
) -> Evidence:
    """Return pairs, whoever voted on them, as evidence.

    A vote's id is a hash of prompt, pictures and verdict. The picture whose hash is smaller comes
    first, so that the order a pair is written in changes nothing.

    Args:
        prior: whose features describe the pictures.
        pairs: of one person.
        looks: attributes of every picture by its key.
    """
    found = prior.gaps(pairs)
    attributes = _differences(pairs, looks or {})
    keys = [key[:ID_BYTES] for key in pairs.keys]
    sides = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    turned = torch.tensor([keys[two] < keys[one] for one, two in sides], dtype=torch.bool)
    first = tuple(min(keys[one], keys[two]) for one, two in sides)
    second = tuple(max(keys[one], keys[two]) for one, two in sides)
    share = torch.where(turned, 1 - found.share, found.share)
    prompts = [pairs.texts[row] for row in pairs.prompt.tolist()]
    whole = Evidence(
        ids=tuple(map(vote_id, prompts, first, second, share.tolist())),
        first=first,
        second=second,
        gap=torch.where(turned[:, None], -found.gap, found.gap),
        looks=torch.where(turned[:, None], -attributes, attributes),
        share=share,
        weight=found.weight,
    )
    return whole.rows(range(len(whole)))


def vote_id(prompt: str, first: bytes, second: bytes, share: float) -> str:
    """Return the id of a vote: 16 hexadecimal digits."""
    total = blake2b(prompt.encode(), digest_size=ID_BYTES)
    total.update(b"\0" + first + second + f"{share:.4f}".encode())
    return total.hexdigest()


def _differences(pairs: Pairs, looks: Mapping[bytes, Float[Tensor, " a"]]) -> Float[Tensor, "n a"]:
    none = torch.zeros(len(WORDS))
    rows = [looks.get(key, none).float() for key in pairs.keys]
    table = torch.stack(rows) if rows else torch.zeros(0, len(WORDS))
    return table[pairs.first] - table[pairs.second]
