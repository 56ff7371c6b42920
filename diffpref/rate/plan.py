"""What a rating session is asked to do, and what it refuses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diffpref.rate.entries import Entry
from diffpref.users.profile import UserProfile

Plain = dict[str, Any]


class Refused(Exception):  # noqa: N818 (an answer to a browser, not a fault)
    """The page asks for what cannot be done now; the message is for the person."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a session does besides asking.

    Attributes:
        mode: rate, or study, which hides everything that could tell the two sides apart.
        goal: pairs after which it says that this is enough; None asks all.
        seed: decides sides, and the order where no profile chooses.
        total: tells how many pairs there will be, where that is known before all are made.
        result: makes the words of the end, from the answers that stand.
        learned: is told every new profile, such as to save it.
    """

    mode: str = "rate"
    goal: int | None = None
    seed: int = 0
    total: Callable[[], int] | None = None
    result: Callable[[list[Entry]], Plain] | None = None
    learned: Callable[[UserProfile], None] | None = None
