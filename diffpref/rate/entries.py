"""What a journal of answers says once undone answers are taken out.

Three kinds of lines, one JSON object each:

    {"prompt", "images", "scores", "user"?, "id", "source"?, "nonce", "left", "time"}   a vote
    {"id", "skip": true, "user"?, "nonce", "time"}                   a pair left undecided
    {"undo": the nonce of an earlier line, "time"}                   takes that line back
    {"revealed": true, "time"}                                       a study's labels were shown

The first is a row of the one schema. `left` is the image that stood on the left, 0 or 1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from logging import getLogger

Row = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One answer that stands; `scores` is None for a skipped pair."""

    nonce: str
    pair: str
    user: str | None
    prompt: str
    images: tuple[str, ...]
    scores: tuple[float, ...] | None
    row: Row

    @property
    def skipped(self) -> bool:
        return self.scores is None


@dataclass(kw_only=True)
class Folded:
    """The answers that stand, by nonce, in the order they were given."""

    alive: dict[str, Entry] = field(default_factory=dict[str, Entry])
    revealed: bool = False


def fold(rows: Iterable[Row]) -> Folded:
    """Return what stands after all lines; lines of another kind are skipped with a warning."""
    found = Folded()
    for row in rows:
        apply(found, row)
    return found


def apply(found: Folded, row: Row) -> None:
    """Change what stands by one more line; a nonce seen before changes nothing."""
    if "undo" in row:
        found.alive.pop(str(row["undo"]), None)
    elif "revealed" in row:
        found.revealed = True
    else:
        entry = entry_of(row)
        if entry is None:
            getLogger(__name__).warning("a line of the journal is no answer: %s", str(row)[:200])
        else:
            found.alive.setdefault(entry.nonce, entry)


def entry_of(row: Row) -> Entry | None:
    """Return the answer a line holds, or None if it holds none."""
    nonce, pair, user = row.get("nonce"), row.get("id"), row.get("user")
    if not isinstance(nonce, str) or not isinstance(pair, str):
        return None
    if user is not None and not isinstance(user, str):
        return None
    if row.get("skip") is True:
        return Entry(nonce=nonce, pair=pair, user=user, prompt="", images=(), scores=None, row=row)
    prompt, images, scores = row.get("prompt"), row.get("images"), row.get("scores")
    if not (isinstance(prompt, str) and isinstance(images, list) and isinstance(scores, list)):
        return None
    paths = tuple(each for each in images if isinstance(each, str))
    shares = tuple(float(each) for each in scores if isinstance(each, int | float))
    if not len(paths) == len(shares) == 2 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        return None
    return Entry(
        nonce=nonce, pair=pair, user=user, prompt=prompt, images=paths, scores=shares, row=row
    )
