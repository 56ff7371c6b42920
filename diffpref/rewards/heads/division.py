"""Which votes are for training, for choosing, and for the test: by person or by prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import torch
from torch import Tensor

from diffpref.rewards.heads.pairs import NOBODY, Pairs

By = Literal["user", "prompt"]
ROLES = ("train", "validation", "test")
TRAIN, VALIDATION = 0.7, 0.8
"""Upper ends of the shares of people or prompts that are for training and for validation."""


@dataclass(frozen=True, kw_only=True)
class Division:
    """The votes of a data set, each in at most one place.

    train, validation: of the same people, on different prompts.
    support: votes of the test's new people to fit their weights to; empty when divided by prompt.
    test: looked at once, at the end.
    """

    train: Pairs
    validation: Pairs
    support: Pairs
    test: Pairs


def divide(pairs: Pairs, parts: Sequence[str], by: By) -> Division:
    """Divide votes so that the test holds new people, or new prompts of known people.

    A source that comes in train, validation and test parts without a common person (by user) or
    prompt (by prompt) keeps them. By user, half of the prompts of a validation person are for
    training and half for validation, and half of those of a test person are support. By prompt,
    half of the prompts of the validation and test parts are for training, so that their people
    are known. Other sources are divided by a hash of the person or the prompt: 70 % train, 10 %
    validation, 20 % test; by user the halves are as above.

    Args:
        pairs: all votes.
        parts: the part of the source each row came from.
        by: what is new in the test.
    """
    names = _names(pairs, by)
    own = _separate(names, parts)
    roles = list(parts) if own else [_role(name) for name in names]
    halved = by == "user" or own
    even = [_share(pairs.texts[row], "half") < 0.5 for row in pairs.prompt.tolist()]
    to: dict[str, list[int]] = {"train": [], "validation": [], "support": [], "test": []}
    for row, role in enumerate(roles):
        if halved and role != "train" and even[row]:
            to["support" if (by, role) == ("user", "test") else "train"].append(row)
        else:
            to[role].append(row)
    return Division(**{name: pairs.rows(_index(rows)) for name, rows in to.items()})


def roles_of(prompts: Sequence[str], parts: Sequence[str]) -> list[str]:
    """Return the role of every row of a source whose people do not matter.

    Its own parts are kept if they are the three roles and share no prompt; else a hash of the
    prompt decides: 70 % train, 10 % validation, 20 % test.
    """
    return list(parts) if _separate(prompts, parts) else [_role(name) for name in prompts]


def _names(pairs: Pairs, by: By) -> list[str | None]:
    if by == "prompt":
        return [pairs.texts[row] for row in pairs.prompt.tolist()]
    return [None if row == NOBODY else pairs.people[row] for row in pairs.person.tolist()]


def _separate(names: Sequence[str | None], parts: Sequence[str]) -> bool:
    """Say whether the parts are the three roles and share no name."""
    if set(parts) != set(ROLES):
        return False
    seen = {
        part: {name for name, at in zip(names, parts, strict=True) if at == part} for part in ROLES
    }
    return sum(map(len, seen.values())) == len(set().union(*seen.values()))


def _role(name: str | None) -> str:
    """Return a name's role; votes of unknown people can only be trained on."""
    if name is None:
        return "train"
    share = _share(name, "role")
    return "train" if share < TRAIN else "validation" if share < VALIDATION else "test"


def _share(name: str, what: str) -> float:
    digest = blake2b(f"diffpref-heads/{what}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _index(rows: Sequence[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.long)
