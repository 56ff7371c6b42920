"""Pairs and lists as single images, each liked or disliked."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

from diffpref.data.readers import RecordSource
from diffpref.data.readers.reader import Ask
from diffpref.data.records import BadRow, Record, Row

Key = tuple[str, str]
"""(prompt, image key): the same picture under another prompt is another case."""


def unpaired(source: RecordSource) -> RecordSource:
    """Return the source's images one by one: score 1 if liked, else 0 (Diffusion-KTO, 2404.04465).

    An image is liked if it was preferred to another at least once anywhere in the source, and
    disliked if it only ever lost. Ties say nothing; an image that only tied is left out. An image
    that stands in several rows of one prompt is yielded once, a single like stays a like. The
    source is read twice, the first time without its pixels.
    """
    plain = source.reader

    def rows(place: str, ask: Ask) -> Iterator[Row]:
        opinions = _opinions(plain.rows(place, replace(ask, pixels=False, start=0)))
        images = _singles(plain.rows(place, replace(ask, start=0)), opinions)
        yield from islice(images, ask.start, None)

    def count(place: str, ask: Ask) -> int | None:
        del place, ask
        return None

    def stamp(place: str, ask: Ask) -> str:
        return f"unpaired {plain.stamp(place, ask)}"

    return replace(source, reader=replace(plain, rows=rows, count=count, stamp=stamp))


def _opinions(rows: Iterable[Row]) -> dict[Key, bool]:
    """Return whether each image that was ever judged was ever preferred."""
    found: dict[Key, bool] = {}
    for row in rows:
        if isinstance(row, BadRow) or row.tied:
            continue
        best = max(row.scores) if len(row.scores) > 1 else 0.0
        for image, score in zip(row.images, row.scores, strict=True):
            liked = score == best if len(row.scores) > 1 else score > 0
            key = (row.prompt, image.key)
            found[key] = found.get(key, False) or liked
    return found


def _singles(rows: Iterable[Row], opinions: dict[Key, bool]) -> Iterator[Row]:
    seen: set[Key] = set()
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        for image in row.images:
            key = (row.prompt, image.key)
            if key in opinions and key not in seen:
                seen.add(key)
                yield _single(row, row.images.index(image), opinions[key])


def _single(row: Record, index: int, liked: bool) -> Record:
    return replace(row, images=(row.images[index],), scores=(float(liked),))
