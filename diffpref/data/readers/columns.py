"""Rows whose images are bytes in columns: Pick-a-Pic v1 and v2, or the one schema."""

from collections.abc import Callable, Collection, Mapping
from hashlib import blake2b

from diffpref.data.records import ImageRef, Row, RowCode
from diffpref.data.validate import Fault, Place, bad_row, check_row, number, prompt_text
from diffpref.errors import DataError, nearest
from diffpref.io import ImageCode

PICKAPIC = ("caption", "label_0", "jpg_0", "jpg_1")
"""What v1 and v2 must have; both carry the columns below too, under the same names."""
PICKAPIC_MORE = (
    "label_1",
    "has_label",
    "user_id",
    "ranking_id",
    "image_0_uid",
    "image_1_uid",
    "model_0",
    "model_1",
)
SCHEMA = ("prompt", "images", "scores")
SCHEMA_MORE = ("user", "id", "source", "weight")

ToRow = Callable[[Mapping[str, object], Place], Row]


def wanted(columns: Collection[str], *, pixels: bool, where: str) -> list[str]:
    """Return the columns to read: the bytes only if asked for, or if nothing else names an image.

    Raises:
        DataError: the columns are those of no known schema.
    """
    if set(SCHEMA) <= set(columns):
        return [name for name in (*SCHEMA, *SCHEMA_MORE) if name in columns]
    missing = [name for name in PICKAPIC if name not in columns]
    if missing:
        raise _unknown(columns, missing, where)
    names = [name for name in (*PICKAPIC, *PICKAPIC_MORE) if name in columns]
    light = not pixels and {"image_0_uid", "image_1_uid"} <= set(columns)
    return [name for name in names if not (light and name in {"jpg_0", "jpg_1"})]


def row_from_columns(raw: Mapping[str, object], place: Place) -> Row:
    """Return the row that columns of either schema describe."""
    if "caption" not in raw:
        return check_row(raw, place, _bytes_image)
    try:
        plain = _pickapic(raw)
    except Fault as fault:
        return bad_row(fault, place, raw.get("ranking_id"))
    return check_row(plain, place, lambda _value, index: _pick_image(raw, index))


def _pickapic(raw: Mapping[str, object]) -> dict[str, object]:
    if raw.get("has_label") is False:
        raise Fault(RowCode.UNLABELLED, "has_label is false", "has_label")
    if raw["caption"] is None:
        raise Fault(RowCode.MISSING_FIELD, "'caption' is missing", "caption")
    label = _label(raw, "label_0")
    if raw.get("label_1") is not None and round(label + _label(raw, "label_1"), 6) != 1:
        raise Fault(RowCode.BAD_LABEL, "label_0 and label_1 do not add up to 1", "label_1")
    return {
        "prompt": prompt_text(raw["caption"]),
        "images": [0, 1],
        "scores": [label, 1 - label],
        "user": raw.get("user_id"),
        "id": raw.get("ranking_id"),
    }


def _label(raw: Mapping[str, object], column: str) -> float:
    label = number(raw.get(column), RowCode.BAD_LABEL, column)
    if not 0 <= label <= 1:
        raise Fault(RowCode.BAD_LABEL, f"{column} must be from 0 to 1, not {label}", column)
    return label


def _pick_image(raw: Mapping[str, object], index: int) -> ImageRef:
    column = f"jpg_{index}"
    uid, generator = raw.get(f"image_{index}_uid"), raw.get(f"model_{index}")
    data = image_bytes(raw[column], column) if column in raw else None
    return ImageRef(
        key=uid if isinstance(uid, str) and uid else _digest(data or b""),
        data=data,
        generator=generator if isinstance(generator, str) else None,
    )


def _bytes_image(value: object, index: int) -> ImageRef:
    del index
    data = image_bytes(value, "images")
    return ImageRef(key=_digest(data), data=data)


def image_bytes(value: object, column: str) -> bytes:
    """Return the bytes of a binary column, or of the {bytes, path} structure of `datasets`.

    Raises:
        Fault: there are none.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes")
    if not isinstance(value, bytes) or not value:
        raise Fault(ImageCode.EMPTY, f"{column} holds no bytes", column)
    return value


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _unknown(columns: Collection[str], missing: list[str], where: str) -> DataError:
    if {"image_0_url", "image_1_url"} <= set(columns):
        hint = "this is an edition without images; get the one with jpg_0 and jpg_1"
    else:
        hint = (
            f"rename the columns: {', '.join(SCHEMA)}, or Pick-a-Pic's {', '.join(PICKAPIC)}; "
            f"{missing[0]}: {nearest(missing[0], columns)}"
        )
    return DataError(f"there is no column {', '.join(missing)}", where=where, hint=hint)
