"""Refuses cached rows that a method cannot learn from."""

from diffpref.catalogue import find_method
from diffpref.config.schema import RunConfig
from diffpref.data.cache import Cache
from diffpref.errors import DataError


def check_rows(config: RunConfig, cache: Cache) -> None:
    """Refuse rows the method cannot learn from.

    Raises:
        DataError: names the first such row.
    """
    name, unit = config.method.name, find_method(config.method.name).data
    for group in cache.groups:
        row, count = cache.rows[int(group.rows[0])], group.images
        if unit == "pairs" and count != 2:
            raise DataError(
                f"{name} learns from pairs, and this row has {count} images",
                where=row.where,
                hint="split ranked lists into pairs, or choose another method",
            )
        if unit == "lists" and count < 2:
            raise DataError(
                f"{name} learns from rankings, and this row has one image",
                where=row.where,
                hint="give at least two images per prompt, or choose method: sft",
            )
        if unit == "unpaired" and count != 1:
            raise DataError(
                f"{name} learns from single images, and this row has {count}",
                where=row.where,
                hint="set data.unpaired: true",
            )
        if unit == "images" and count == 1:
            _check_liked(name, cache, group.rows.tolist())


def _check_liked(name: str, cache: Cache, single: list[int]) -> None:
    """Refuse rows of single images that were not liked."""
    for row in (cache.rows[number] for number in single):
        if not row.scores[0] > 0:
            raise DataError(
                f"{name} would learn this disliked image as if it were liked",
                where=row.where,
                hint="leave disliked single images out, or choose method: diffusion_kto",
            )


def images_per_prompt(cache: Cache) -> int:
    return max(group.images for group in cache.groups)
