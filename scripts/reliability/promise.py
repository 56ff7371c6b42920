"""What a promise is made of: a sentence, its tests, and how much they must have tried."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Number:
    """How often something must have been tried.

    what: the name tests report it by (fixture `count`), or, with `each`, a name of ours.
    each: counts the passed cases of this test function instead.
    of: all tests' numbers together, or the least of any test that reports one.
    """

    what: str
    least: int
    each: str | None = None
    of: Literal["all", "least"] = "all"


@dataclass(frozen=True, kw_only=True)
class Promise:
    """A sentence for users and what proves it.

    tests: pytest's arguments; a `*` in a file name is expanded.
    """

    code: str
    sentence: str
    tests: tuple[str, ...]
    numbers: tuple[Number, ...] = ()
