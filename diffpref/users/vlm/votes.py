"""One person's choices with their pictures, as a vision-language model is shown them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

import torch

from diffpref.data.prepare import pixel_hash
from diffpref.data.readers import open_records
from diffpref.data.records import BadRow, Record
from diffpref.data.support import SupportPair
from diffpref.errors import DataError
from diffpref.io import BadImage, open_image
from diffpref.users.read import check_user, only

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Choices, their pictures by hash of the pixels, and what a reader should be told."""

    choices: tuple[SupportPair, ...]
    pictures: "Mapping[str, Image]" = field(repr=False)
    notes: tuple[str, ...] = ()


def read_choices(
    source: str, *, user: str | None = None, format: str | None = None, split: str = "train"
) -> Chosen:
    """Read the choices of one person from a data set; ties are left out.

    Args:
        source: any source of votes.
        user: whose votes; needed where several people voted.
        format: of the source, if it is not to be recognised.
        split: part of the source, for sources that have several.

    Raises:
        DataError: nothing can be used.
        UsageError: several people voted and none is named, or this one did not.
    """
    records = open_records(source, format=format, split=split)
    check_user(records, user)
    pictures: dict[str, Image] = {}
    choices: list[SupportPair] = []
    bad: list[str] = []
    for row in (records if user is None else only(records, user)).rows():
        if isinstance(row, BadRow):
            bad.append(str(row))
            continue
        try:
            opened = [open_image(each.content, where=row.where) for each in row.images]
        except BadImage as error:
            bad.append(f"{row.where}: {error.code}: {error.reason}")
            continue
        names = [pixel_hash(each) for each in opened]
        pictures.update(zip(names, opened, strict=True))
        choices += _choices(row, names)
    if not choices:
        hint = "; ".join(["a vlm profile needs rows of two pictures, one chosen", *bad[:3]])
        raise DataError("nobody chose anything", where=source, hint=hint)
    notes = (f"{len(bad)} rows could not be used, for example {bad[0]}",) if bad else ()
    return Chosen(choices=tuple(choices), pictures=pictures, notes=notes)


def _choices(row: Record, names: list[str]) -> Iterator[SupportPair]:
    for one, two in combinations(range(len(names)), 2):
        if row.scores[one] == row.scores[two] or names[one] == names[two]:
            continue
        won, lost = (one, two) if row.scores[one] > row.scores[two] else (two, one)
        yield SupportPair(
            prompt=row.prompt,
            chosen=torch.zeros(0),
            rejected=torch.zeros(0),
            images=(names[won], names[lost]),
            user=row.user or "",
            weight=row.weight,
        )
