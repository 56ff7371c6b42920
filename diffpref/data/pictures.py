"""Pictures of a cached data set by what a person sees, small enough for a vision-language model."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from diffpref.data.cache import Cache
from diffpref.data.prepare import pixel_hash, pixels_of
from diffpref.data.readers import RecordSource
from diffpref.data.records import BadRow
from diffpref.errors import DataError
from diffpref.io import BadImage, open_image, png_bytes, write_atomic

if TYPE_CHECKING:
    from PIL.Image import Image

CHUNK = 64
"""Rows whose pictures are in memory together."""


def shelved(cache: Cache, source: RecordSource, folder: Path, side: int) -> "Shelf":
    """Return a shelf with every picture of the cache; those that are on it are not read again.

    Args:
        cache: the data set; its rows name the pictures.
        source: where they are read.
        folder: where they are kept.
        side: pixels of the longer side at most; larger ones are made smaller.

    Raises:
        DataError: the source has lost pictures of the cache.
        DiskError: the folder cannot be written.
    """
    shelf = Shelf(folder / f"pictures-{side}")
    wanted = {pixels_of(entry) for row in cache.rows for entry in row.images}
    missing = {name for name in wanted if not shelf.path(name).is_file()}
    shelf.folder.mkdir(parents=True, exist_ok=True)
    for name, picture in _pictures(source) if missing else ():
        if name in missing:
            write_atomic(shelf.path(name), png_bytes(shrunk(picture, side), {}))
            missing.discard(name)
        if not missing:
            break
    if missing:
        what = f"{len(missing)} images of the cache are not in it any more"
        hint = "give the source as it was when it was cached, or cache it again"
        raise DataError(what, where=source.name, hint=hint)
    return shelf


def shrunk(picture: "Image", side: int) -> "Image":
    """Return a picture whose longer side is at most `side` pixels, its proportions kept."""
    from PIL.Image import Resampling

    longer = max(picture.size)
    if longer <= side:
        return picture
    width, height = (max(1, round(each * side / longer)) for each in picture.size)
    return picture.resize((width, height), Resampling.BICUBIC)


class Shelf:
    """A folder of pictures, named by the hash of the pixels they were made of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return the file of a picture."""
        return self.folder / f"{name}.png"

    def __call__(self, name: str) -> "Image":
        return open_image(self.path(name), where=str(self.path(name)))


def _pictures(source: RecordSource) -> "Iterator[tuple[str, Image]]":
    rows = source.rows()
    while chunk := list(islice(rows, CHUNK)):
        for image in (i for row in chunk if not isinstance(row, BadRow) for i in row.images):
            try:
                picture = open_image(image.content, where=image.key)
            except BadImage:
                continue
            yield pixel_hash(picture), picture
