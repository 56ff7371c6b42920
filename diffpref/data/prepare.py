"""Rows to pixels: every image is decoded and cut here, or the row says why it is left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import PIL.Image

from diffpref.data.filters import Filters, losers_of
from diffpref.data.readers import RecordSource
from diffpref.data.records import BadRow, Record, RowCode
from diffpref.data.transform import Geometry, Size, crop_share, cut_together
from diffpref.io import BadImage, open_image


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """One image ready to encode; `id` names its pixels, its bucket and its crop."""

    id: str
    image: PIL.Image.Image = field(repr=False)
    geometry: Geometry


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A record whose images are all good. `ordinal` is the row's number in the source, from 0."""

    ordinal: int
    record: Record
    cuts: tuple[Cut, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """A record that a filter left out."""

    ordinal: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Bad:
    """A row that cannot be used."""

    ordinal: int
    row: BadRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Cutting:
    """Where images are cut: the buckets, and the seed of random crops (None centres them)."""

    choices: Sequence[Size]
    seed: int | None = None


Outcome = Prepared | Dropped | Bad


def prepare_rows(
    source: RecordSource,
    filters: Filters,
    cutting: Cutting | None,
    *,
    start: int = 0,
    kept: int = 0,
) -> Iterator[Outcome]:
    """Yield what becomes of every row from `start`, of which `kept` were kept before.

    Without a cutting the images are only looked at.
    """
    none: frozenset[bytes] = frozenset()
    losers = losers_of(source.rows(pixels=False)) if filters.absolute_winners else none
    for ordinal, row in enumerate(source.rows(start=start), start=start):
        if filters.max_rows is not None and kept >= filters.max_rows:
            return
        if isinstance(row, BadRow):
            yield Bad(ordinal=ordinal, row=row)
        elif reason := filters.refuse(row, losers):
            yield Dropped(ordinal=ordinal, reason=reason)
        else:
            outcome = _prepare(ordinal, row, filters, cutting)
            kept += isinstance(outcome, Prepared)
            yield outcome


def _prepare(ordinal: int, record: Record, filters: Filters, cutting: Cutting | None) -> Outcome:
    images: list[PIL.Image.Image] = []
    for index, image in enumerate(record.images):
        try:
            images.append(open_image(image.content, where=record.where))
        except BadImage as error:
            return Bad(
                ordinal=ordinal, row=record.bad(error.code, error.reason, f"images[{index}]")
            )
    if reason := filters.refuse_sizes([(image.height, image.width) for image in images]):
        return Dropped(ordinal=ordinal, reason=reason)
    names = [pixel_hash(image) for image in images]
    if len(set(names)) < len(names):
        reason = "two images of the row have the same pixels"
        return Bad(ordinal=ordinal, row=record.bad(RowCode.SELF_PAIR, reason, "images"))
    cuts = zip(names, _cut(ordinal, images, cutting), strict=True)
    return Prepared(
        ordinal=ordinal,
        record=record,
        cuts=tuple(
            Cut(id=_entry_id(name, geometry), image=image, geometry=geometry)
            for name, (image, geometry) in cuts
        ),
    )


def _cut(
    ordinal: int, images: list[PIL.Image.Image], cutting: Cutting | None
) -> list[tuple[PIL.Image.Image, Geometry]]:
    """Cut the images of a row; without a cutting they stay as they are."""
    if cutting is None:
        sizes = [(image.height, image.width) for image in images]
        whole = [Geometry(original=size, crop=(0, 0), target=size) for size in sizes]
        return list(zip(images, whole, strict=True))
    at = None if cutting.seed is None else crop_share(cutting.seed, ordinal)
    return cut_together(images, cutting.choices, at=at)


def pixel_hash(image: PIL.Image.Image) -> str:
    """Return a hash of what a person sees, whatever file it came from."""
    digest = blake2b(f"{image.width}x{image.height};".encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.hexdigest()


def pixels_of(entry: str) -> str:
    """Return the pixel hash that an entry's id begins with."""
    return entry.split("-", 1)[0]


def _entry_id(name: str, geometry: Geometry) -> str:
    (height, width), (top, left) = geometry.target, geometry.crop
    return f"{name}-{height}x{width}+{top}+{left}"
