"""Which of a prompt's scored images become a pair or a ranked list, and why others do not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from diffpref.data.labels import LabelTable, labels_of, normalised
from diffpref.data.validate import MAX_IMAGES

Make = Literal["pairs", "all-pairs", "lists"]
"""pairs: the best against the worst; all-pairs: every two; lists: all images, ranked."""

Agree = Literal["all", "majority"]

Scores = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When one image counts as better than another.

    A scorer votes if it tells them apart by more than `margin`, a share of the range of its scores
    over the whole table; `agree` says how many of the scorers must vote for the better one.
    With `users` every scorer is a person of its own, whose rows are its alone.
    """

    make: Make = "pairs"
    margin: float = 0.0
    agree: Agree = "all"
    users: bool = False


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A row to be: images by key and their labels, the best first; `user` is who finds it so."""

    prompt: str
    images: tuple[str, ...]
    labels: tuple[float, ...]
    user: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A row that is not made: `alone`, `many`, `tie`, `margin` or `disagreement`."""

    prompt: str
    reason: str


MEANING = {
    "alone": "only one image of the prompt",
    "many": f"more than {MAX_IMAGES} images of the prompt",
    "tie": "no scorer tells the images apart",
    "margin": "the scorers agree, but by less than the margin",
    "disagreement": "the scorers do not agree",
}

WAY_OUT = {
    "alone": "give at least two images per prompt",
    "many": f"give at most {MAX_IMAGES} images per prompt",
    "tie": "use a scorer that tells the images apart",
    "margin": "lower --margin",
    "disagreement": "use --agree majority",
}
"""What to do where nothing else is left."""


def chosen(table: LabelTable, rule: Rule) -> Iterator[Choice | Dropped]:
    """Yield what becomes of every prompt of a table, or with all-pairs of every two of its images.

    Labels are those of `LabelTable.of` over the images of the row.
    """
    if not rule.users:
        yield from _chosen(table, rule)
        return
    for name, own in _apart(table):
        for each in _chosen(own, rule):
            yield replace(each, user=name) if isinstance(each, Choice) else each


def _chosen(table: LabelTable, rule: Rule) -> Iterator[Choice | Dropped]:
    prompts: dict[str, list[tuple[str, Scores]]] = {}
    for (prompt, image), scores in table.scores.items():
        prompts.setdefault(prompt, []).append((image, scores))
    for prompt, images in prompts.items():
        if len(images) < 2:
            yield Dropped(prompt=prompt, reason="alone")
        elif rule.make == "all-pairs":
            for pair in combinations(images, 2):
                yield _row(prompt, pair, pair, table, rule)
        elif rule.make == "lists" and len(images) > MAX_IMAGES:
            yield Dropped(prompt=prompt, reason="many")
        else:
            ends = _ends(images, table)
            kept = ends if rule.make == "pairs" else images
            yield _row(prompt, kept, ends, table, rule)


def _apart(table: LabelTable) -> Iterator[tuple[str, LabelTable]]:
    """Yield every scorer of a table by name, with the table it would have made alone."""
    for place, (name, about) in enumerate(table.header["scorers"].items()):
        scores = {key: (values[place],) for key, values in table.scores.items()}
        yield name, replace(table, header={**table.header, "scorers": {name: about}}, scores=scores)


def _ends(images: Sequence[tuple[str, Scores]], table: LabelTable) -> list[tuple[str, Scores]]:
    """Return the best and the worst image; the first of equals."""
    labels = labels_of([scores for _, scores in images], table.ranges)
    best = max(range(len(images)), key=labels.__getitem__)
    worst = min((row for row in range(len(images)) if row != best), key=labels.__getitem__)
    return [images[best], images[worst]]


def _row(
    prompt: str,
    images: Sequence[tuple[str, Scores]],
    ends: Sequence[tuple[str, Scores]],
    table: LabelTable,
    rule: Rule,
) -> Choice | Dropped:
    (_, first), (_, second) = ends
    reason = _objection(first, second, table.ranges, rule)
    if reason is not None:
        return Dropped(prompt=prompt, reason=reason)
    labels = labels_of([scores for _, scores in images], table.ranges)
    order = sorted(range(len(images)), key=lambda row: -labels[row])
    return Choice(
        prompt=prompt,
        images=tuple(images[row][0] for row in order),
        labels=tuple(labels[row] for row in order),
    )


def _objection(
    first: Scores, second: Scores, ranges: Sequence[tuple[float, float]], rule: Rule
) -> str | None:
    """Say why neither image counts as better; None if one does."""
    gaps = [
        normalised(a, span) - normalised(b, span)
        for a, b, span in zip(first, second, ranges, strict=True)
    ]
    if not any(gaps):
        return "tie"
    if _agreed(gaps, rule.margin, rule.agree):
        return None
    return "margin" if _agreed(gaps, 0.0, rule.agree) else "disagreement"


def _agreed(gaps: Sequence[float], margin: float, agree: Agree) -> bool:
    for_first = sum(gap > margin for gap in gaps)
    for_second = sum(-gap > margin for gap in gaps)
    needed = len(gaps) if agree == "all" else len(gaps) // 2 + 1
    return max(for_first, for_second) >= needed
