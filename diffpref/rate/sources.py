"""Pairs of pictures that are there already: a folder, or preference data of any known format."""

from collections.abc import Mapping, Sequence
from itertools import combinations, islice
from logging import getLogger
from pathlib import Path

from diffpref.data.readers import open_records
from diffpref.data.records import BadRow, Row
from diffpref.errors import DataError
from diffpref.io import BadImage
from diffpref.rate.pair import Pair, Picture, pair_of, picture_of
from diffpref.rate.pool import every_two


def folder_pairs(files: Sequence[Path], prompts: Mapping[Path, str], *, seed: int) -> list[Pair]:
    """Return every two pictures that share a prompt.

    Args:
        files: the pictures.
        prompts: of all of them.
        seed: draws the pairs where there are too many.

    Raises:
        DataError: no two different pictures share a prompt.
    """
    groups: dict[str, list[Picture]] = {}
    for file in files:
        try:
            groups.setdefault(prompts[file], []).append(picture_of(file))
        except BadImage as error:
            getLogger(__name__).warning("%s is left out: %s", file, error.reason)
    found = list(every_two(groups.items(), seed=seed))
    if not found:
        where = str(files[0].parent) if files else "rate"
        hint = 'give all of them one: --prompt "a portrait", or their own: --prompts-from'
        raise DataError("no two different pictures share a prompt", where=where, hint=hint)
    return found


def record_pairs(
    source: str, *, format: str | None = None, split: str = "train", limit: int | None = None
) -> list[Pair]:
    """Return every two pictures of the rows of preference data; votes that are there are not read.

    Args:
        source: any source of `diffpref data`.
        format: of it, if it is not to be recognised.
        split: part of a source that has several.
        limit: pairs, from the top.

    Raises:
        DataError: no pair can be used.
    """
    bad: list[str] = []
    records = open_records(source, format=format, split=split)
    rows = (pair for row in records.rows() for pair in _pairs(row, bad))
    found = list(islice(rows, limit))
    if not found:
        hint = "; ".join(["rows need two or more images", *bad[:3]])
        raise DataError("no pairs could be used", where=source, hint=hint)
    if bad:
        getLogger(__name__).warning("%d rows cannot be shown, such as %s", len(bad), bad[0])
    return list({pair.id: pair for pair in found}.values())


def _pairs(row: Row, bad: list[str]) -> list[Pair]:
    if isinstance(row, BadRow):
        bad.append(str(row))
        return []
    try:
        pictures = [picture_of(image.content) for image in row.images]
    except BadImage as error:
        bad.append(f"{row.where}: {error.reason}")
        return []
    return [
        pair_of(row.prompt, one, two, source=row.source)
        for one, two in combinations(pictures, 2)
        if one.key != two.key
    ]
