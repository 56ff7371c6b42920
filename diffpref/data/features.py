"""Features of every image of a cached data set, by what a person sees, computed once."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from diffpref.data.cache import Cache
from diffpref.data.prepare import pixel_hash, pixels_of
from diffpref.data.readers import RecordSource
from diffpref.data.records import BadRow, ImageRef
from diffpref.errors import DataError
from diffpref.io import BadImage, open_image
from diffpref.rewards import LoadedScorer
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.rewards.inputs import AnyImage

CHUNK = 64
"""Rows whose images are in memory together."""

Progress = Callable[[int, int | None], None]


def image_features(
    cache: Cache,
    source: RecordSource,
    scorer: LoadedScorer,
    folder: Path,
    *,
    batch: int = 64,
    progress: Progress | None = None,
) -> dict[str, Float[Tensor, " d"]]:
    """Return the scorer's embedding of every image of the cache, by hash of its pixels.

    Args:
        cache: the data set; its rows name the images.
        source: where the images are read, if any is not in the folder yet.
        scorer: whose image tower.
        folder: where embeddings are kept.
        batch: images embedded at once.
        progress: told after every few rows.

    Returns:
        Unit vectors in float32.

    Raises:
        DataError: the source has lost images of the cache.
        UsageError: the scorer has no image embeddings.
    """
    wanted = sorted({pixels_of(entry) for row in cache.rows for entry in row.images})
    keys = [bytes.fromhex(name) for name in wanted]
    store = EmbeddingStore(folder, scorer, batch=batch)
    missing = set(store.missing(keys))
    rows, done, total = source.rows(), 0, source.count()
    with store:
        while missing and (chunk := list(islice(rows, CHUNK))):
            records = [row for row in chunk if not isinstance(row, BadRow)]
            seen = _opened([image for record in records for image in record.images])
            store.add_images({key: image for key, image in seen.items() if key in missing})
            missing -= seen.keys()
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    if missing:
        hint = "give the source as it was when it was cached, or cache it again"
        what = f"{len(missing)} images of the cache are not in it any more"
        raise DataError(what, where=source.name, hint=hint)
    return dict(zip(wanted, store.images(keys), strict=True))


def _opened(images: list[ImageRef]) -> dict[bytes, AnyImage]:
    """Return the images that can be opened, by hash of their pixels; the cache has no others."""
    found: dict[bytes, AnyImage] = {}
    for image in images:
        try:
            picture = open_image(image.content, where=image.key)
        except BadImage:
            continue
        found[bytes.fromhex(pixel_hash(picture))] = picture
    return found
