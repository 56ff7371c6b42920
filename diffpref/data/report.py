"""What a data set holds, counted: for `data inspect`, for the cache and for the run's header."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b

WORD = re.compile(r"[^\W_]+|[^\w\s]+|_+")
"""Every match is at least one token of CLIP's tokenizer."""

Overlong = Callable[[Sequence[str]], int]
"""Prompts -> how many have more tokens than the model reads."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Counts of one pass over a source. `dropped` and `bad` are by reason; `by_k` by images a row.

    duplicates: rows that repeat the images and the order of an earlier row of the same prompt;
    conflicts: rows that reverse it. overlong: distinct prompts with more tokens than are read, a
    lower bound unless `overlong_exact`. upscaled: images smaller than their bucket.
    """

    rows: int
    kept: int
    dropped: Mapping[str, int]
    bad: Mapping[str, int]
    by_k: Mapping[str, int]
    ties: int
    prompts: int
    images: int
    users: int
    duplicates: int
    conflicts: int
    overlong: int
    overlong_exact: bool
    upscaled: int = 0
    buckets: Mapping[str, int] = field(default_factory=dict)

    @property
    def bad_rows(self) -> int:
        return sum(self.bad.values())

    def plain(self) -> dict[str, object]:
        """Return what is written as JSON."""
        return asdict(self)


@dataclass(kw_only=True)
class Tally:
    """Counts kept rows one at a time."""

    kept: int = 0
    ties: int = 0
    duplicates: int = 0
    conflicts: int = 0
    by_k: Counter[str] = field(default_factory=Counter)
    prompts: dict[str, None] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    _seen: dict[bytes, tuple[float, ...]] = field(default_factory=dict)

    def add(
        self, prompt: str, images: Sequence[str], scores: Sequence[float], user: str | None
    ) -> None:
        """Count one row; `images` are names that equal images share."""
        self.kept += 1
        self.by_k[str(len(images))] += 1
        self.ties += len(scores) > 1 and min(scores) == max(scores)
        self.prompts[prompt] = None
        self.images.update(images)
        if user is not None:
            self.users.add(user)
        self._compare(prompt, images, scores)

    def _compare(self, prompt: str, images: Sequence[str], scores: Sequence[float]) -> None:
        order = sorted(range(len(images)), key=lambda index: images[index])
        text = "\0".join([unicodedata.normalize("NFC", prompt), *(images[i] for i in order)])
        key = blake2b(text.encode(), digest_size=12).digest()
        now = tuple(scores[index] for index in order)
        before = self._seen.setdefault(key, now)
        if before is now:
            return
        if _reversed(before, now):
            self.conflicts += 1
        else:
            self.duplicates += 1


def make_report(
    tally: Tally,
    *,
    dropped: Mapping[str, int],
    bad: Mapping[str, int],
    overlong: Overlong | None,
    token_limit: int = 77,
    upscaled: int = 0,
    buckets: Mapping[str, int] | None = None,
) -> Report:
    """Close a tally. Without the model's own tokenizer words and signs are counted instead."""
    prompts = list(tally.prompts)
    if overlong is None:
        long = sum(len(WORD.findall(prompt)) + 2 > token_limit for prompt in prompts)
    else:
        long = overlong(prompts)
    return Report(
        rows=tally.kept + sum(dropped.values()) + sum(bad.values()),
        kept=tally.kept,
        dropped=dict(sorted(dropped.items())),
        bad=dict(sorted(bad.items())),
        by_k=dict(sorted(tally.by_k.items())),
        ties=tally.ties,
        prompts=len(prompts),
        images=len(tally.images),
        users=len(tally.users),
        duplicates=tally.duplicates,
        conflicts=tally.conflicts,
        overlong=long,
        overlong_exact=overlong is not None,
        upscaled=upscaled,
        buckets=dict(sorted((buckets or {}).items())),
    )


def _reversed(before: Sequence[float], now: Sequence[float]) -> bool:
    """Say whether two images of the row stand in opposite order."""
    return any(
        (before[i] - before[j]) * (now[i] - now[j]) < 0 for i in range(len(now)) for j in range(i)
    )
