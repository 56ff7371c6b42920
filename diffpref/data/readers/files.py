"""Rows whose images are files: the one schema, with ranks accepted in place of scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from diffpref.data.records import ImageRef, Row, RowCode
from diffpref.data.validate import MAX_IMAGES, Fault, Place, bad_row, check_row
from diffpref.io import BadPath, safe_path

RANKED = {"ranking", "rank"}
IMAGES = ("images", "generations", "image_path", "image_paths")
"""What the list of images is called: ours, ImageReward's, HPD v2's, and others'."""


def row_from_files(raw: Mapping[str, object], root: Path, place: Place) -> Row:
    """Return the row a mapping of the schema describes; image paths are relative to `root`."""

    def to_image(value: object, index: int) -> ImageRef:
        del index
        return file_image(value, root)

    try:
        plain = _plain(raw)
    except Fault as fault:
        return bad_row(fault, place, raw.get("id"))
    return check_row(plain, place, to_image)


def file_image(value: object, root: Path) -> ImageRef:
    """Return the reference of an image file below `root`.

    Raises:
        Fault: not text, or a path that the door refuses.
    """
    if not isinstance(value, str):
        raise Fault(RowCode.WRONG_TYPE, "an image must be a path", "images")
    try:
        path = safe_path(root, value)
    except BadPath as error:
        raise Fault(error.code, f"{value[:200]!r}: {error.reason}", "images") from None
    return ImageRef(key=path.relative_to(root.resolve()).as_posix(), path=path)


def scores_of_ranks(ranks: Sequence[object]) -> list[float]:
    """Return (last - rank) / (last - first): 1 for the best rank, 0 for the last.

    Ranks count from 1, or from 0 if a 0 is among k ranks below k. The last rank is k counted from
    there, or a larger one that occurs: of ImageReward's 466 test lists 70 are parts of longer ones,
    such as 1, 2, 5, 3. Two images get votes 1 and 0.

    Raises:
        Fault: a rank is not such a whole number.
    """
    whole = [rank for rank in ranks if isinstance(rank, int) and not isinstance(rank, bool)]
    first = 0 if 0 in whole and max(whole) < len(whole) else 1
    if len(whole) < len(ranks) or any(not first <= rank <= MAX_IMAGES for rank in whole):
        reason = f"ranks are whole numbers, 1 is best, none above {MAX_IMAGES}"
        raise Fault(RowCode.BAD_RANKING, reason, "ranking")
    last = max([len(whole) - 1 + first, *whole])
    return [(last - rank) / max(last - first, 1) for rank in whole]


def _plain(raw: Mapping[str, object]) -> dict[str, object]:
    plain = dict(raw)
    for name in IMAGES[1:]:
        if name in plain and "images" not in plain:
            plain["images"] = plain[name]
    for name in sorted(RANKED & plain.keys()):
        ranks = plain[name]
        if "scores" not in plain and isinstance(ranks, list):
            plain["scores"] = scores_of_ranks(ranks)
    return plain
