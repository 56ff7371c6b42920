"""Rows whose images are files: the one schema, with ranks accepted in place of scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from diffpref.data.records import ImageRef, Row, RowCode
from diffpref.data.validate import Fault, Place, bad_row, check_row
from diffpref.io import BadPath, safe_path

RANKED = {"ranking", "rank"}
IMAGES = ("images", "generations", "image_paths")
"""What the list of images is called: ours, and what ranked lists say."""


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
    """Return (k - rank) / (k - 1): 1 for rank 1, 0 for rank k, so two images get votes 1 and 0.

    Raises:
        Fault: a rank is not a whole number from 1.
    """
    whole = [rank for rank in ranks if isinstance(rank, int) and not isinstance(rank, bool)]
    if len(whole) < len(ranks) or any(not 1 <= rank <= len(ranks) for rank in whole):
        reason = f"ranks are whole numbers from 1 (best) to {len(ranks)}"
        raise Fault(RowCode.BAD_RANKING, reason, "ranking")
    return [(len(whole) - rank) / max(len(whole) - 1, 1) for rank in whole]


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
