"""The one place where a raw row becomes a record: every field is checked here, once."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from diffpref.data.records import BadRow, ImageRef, Record, Row, RowCode
from diffpref.errors import nearest

FIELDS = ("prompt", "images", "scores", "user", "id", "source", "weight")
"""The schema of a row; other fields are ignored."""

MAX_PROMPT = 10_000
MAX_IMAGES = 64

Raw = Mapping[str, object]
ToImage = Callable[[object, int], ImageRef]
"""(what the row says about an image, its index) -> where it is; raises Fault."""


class Fault(Exception):  # noqa: N818 (a verdict on data)
    """What is wrong with one field of one row."""

    def __init__(self, code: str, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.column = code, reason, column


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a raw row stands."""

    file: str
    line: int


def check_row(raw: Raw, place: Place, to_image: ToImage) -> Row:
    """Return the record a raw row of the schema describes, or the bad row that says why not."""
    try:
        images = _images(raw, to_image)
        return Record(
            prompt=prompt_text(_required(raw, "prompt")),
            images=images,
            scores=_scores(raw, len(images)),
            user=_name(raw, "user"),
            id=_name(raw, "id"),
            source=_name(raw, "source"),
            weight=_weight(raw),
            file=place.file,
            line=place.line,
        )
    except Fault as fault:
        return bad_row(fault, place, raw.get("id"))


def bad_row(fault: Fault, place: Place, row_id: object = None) -> BadRow:
    """Return the bad row of a fault."""
    return BadRow(
        file=_shown(place.file),
        line=place.line,
        row_id=_shown(_digits(row_id))[:200] if isinstance(row_id, str | int) else None,
        column=fault.column,
        code=fault.code,
        reason=_shown(fault.reason),
    )


def number(value: object, code: str, column: str) -> float:
    """Return a finite number; booleans and text that looks like a number are refused.

    Raises:
        Fault: with the given code.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Fault(code, f"{column} must be a number, not {_kind(value)}", column)
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise Fault(code, f"{column} must be finite, not {result}", column)
    return result


def prompt_text(value: object) -> str:
    """Return the prompt as it was written.

    Raises:
        Fault: not text, empty, far too long, or not encodable.
    """
    if not isinstance(value, str):
        raise Fault(RowCode.WRONG_TYPE, f"prompt must be text, not {_kind(value)}", "prompt")
    if not value.strip():
        raise Fault(RowCode.EMPTY_PROMPT, "prompt is empty", "prompt")
    if len(value) > MAX_PROMPT:
        reason = f"prompt has {len(value)} characters, at most {MAX_PROMPT} are read"
        raise Fault(RowCode.LONG_PROMPT, reason, "prompt")
    if not _encodable(value):
        reason = "prompt holds NUL or half a surrogate pair"
        raise Fault(RowCode.BAD_TEXT, reason, "prompt")
    return value


def _required(raw: Raw, name: str) -> object:
    if raw.get(name) is None:
        others = [key for key in raw if key not in FIELDS]
        seen = f"; the row has {', '.join(sorted(map(str, raw)))[:200]}" if raw else ""
        close = [
            key for key in others if nearest(str(key), FIELDS).startswith(f"did you mean '{name}'")
        ]
        hint = f", rename '{close[0]}'" if close else seen
        raise Fault(RowCode.MISSING_FIELD, f"'{name}' is missing{hint}", name)
    return raw[name]


def _images(raw: Raw, to_image: ToImage) -> tuple[ImageRef, ...]:
    value = _required(raw, "images")
    if not isinstance(value, list | tuple):
        raise Fault(RowCode.WRONG_TYPE, f"images must be a list, not {_kind(value)}", "images")
    if not value:
        raise Fault(RowCode.NO_IMAGES, "images is an empty list", "images")
    if len(value) > MAX_IMAGES:
        reason = f"{len(value)} images, at most {MAX_IMAGES} for one prompt"
        raise Fault(RowCode.TOO_MANY_IMAGES, reason, "images")
    images = tuple(to_image(item, index) for index, item in enumerate(value))
    if len({image.key for image in images}) < len(images):
        raise Fault(RowCode.SELF_PAIR, "the same image stands twice in the row", "images")
    return images


def _scores(raw: Raw, count: int) -> tuple[float, ...]:
    value = _required(raw, "scores")
    if not isinstance(value, list | tuple):
        raise Fault(RowCode.WRONG_TYPE, f"scores must be a list, not {_kind(value)}", "scores")
    if len(value) != count:
        raise Fault(RowCode.COUNT_MISMATCH, f"{count} images but {len(value)} scores", "scores")
    return tuple(number(item, RowCode.BAD_SCORE, "scores") for item in value)


def _weight(raw: Raw) -> float:
    if raw.get("weight") is None:
        return 1.0
    weight = number(raw["weight"], RowCode.BAD_WEIGHT, "weight")
    if weight <= 0:
        raise Fault(RowCode.BAD_WEIGHT, f"weight must be above 0, not {weight}", "weight")
    return weight


def _name(raw: Raw, column: str) -> str | None:
    value = raw.get(column)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Fault(RowCode.WRONG_TYPE, f"{column} must be text, not {_kind(value)}", column)
    text = _digits(value)
    if not _encodable(text):
        raise Fault(RowCode.BAD_TEXT, f"{column} holds NUL or half a surrogate pair", column)
    return text


def _digits(value: str | int) -> str:
    try:
        return str(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return hex(value) if isinstance(value, int) else value


def _shown(text: str) -> str:
    """Escape what UTF-8 cannot hold, such as file names of another encoding."""
    return text.encode("utf-8", "backslashreplace").decode()


def _encodable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "true/false", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
