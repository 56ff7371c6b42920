"""A source in its train, validation and test parts, or cut to its first rows."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from diffpref.data.readers import RecordSource, open_records
from diffpref.data.readers.reader import Ask
from diffpref.data.records import Row
from diffpref.errors import DataError
from diffpref.rewards.heads.division import ROLES


def parts_of(
    source: str, format: str | None = None, rows: int | None = None
) -> dict[str, RecordSource]:
    """Return a source's train, validation and test parts, or the whole of it as one part.

    With `rows`, of each part only so many.
    """
    first = open_records(source, format=format)
    found = {role: replace(first, split=role) for role in ROLES}
    try:
        stamps = set() if first.format == "hub" else {each.stamp() for each in found.values()}
    except DataError:
        stamps = set()
    if len(stamps) < len(found):
        found = {"train": first}
    if rows is None:
        return found
    return {part: first_rows(each, rows) for part, each in found.items()}


def first_rows(source: RecordSource, rows: int) -> RecordSource:
    """Return a source that ends after so many rows."""
    plain = source.reader

    def some(place: str, ask: Ask) -> Iterator[Row]:
        return islice(plain.rows(place, ask), max(rows - ask.start, 0))

    def count(place: str, ask: Ask) -> int | None:
        known = plain.count(place, ask)
        return None if known is None else min(known, rows)

    def stamp(place: str, ask: Ask) -> str:
        return f"first {rows} {plain.stamp(place, ask)}"

    return replace(source, reader=replace(plain, rows=some, count=count, stamp=stamp))
