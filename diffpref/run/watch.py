"""How a run is watched."""

from collections.abc import Callable
from dataclasses import dataclass

from diffpref.run.assemble import Assembled
from diffpref.run.data import Progress


def _unwatched(*what: object) -> None:
    del what


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How a run is watched; every function may be called often.

    caching: rows cached, rows in all if known. remembering: draws kept to be recalled, draws in
    all. sampling: prompts of a round sampled, prompts in all. assembled: the run before its first
    step. step: finished steps and the latest numbers. say: a sentence for the user.
    """

    caching: Progress | None = None
    remembering: Callable[[int, int | None], None] | None = None
    sampling: Callable[[int, int | None], None] | None = None
    assembled: Callable[[Assembled], None] = _unwatched
    step: Callable[[int, dict[str, object]], None] = _unwatched
    say: Callable[[str], None] = _unwatched
