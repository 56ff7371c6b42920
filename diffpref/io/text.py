"""The doors for JSON: strict documents, and jsonl where every bad line is named and skipped."""

import json
from collections.abc import Iterator
from logging import getLogger
from math import isfinite
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from diffpref.io.codes import BadLine, BadText, TextCode

MAX_LINE = 2**20
MAX_DOCUMENT = 64 * 2**20
MAX_DEPTH = 32
_MAX_DIGITS = 400  # the largest float has 309
_BOM = b"\xef\xbb\xbf"
_NEWLINE = b"\n"


def parse_json(data: bytes | str, where: str = "", *, max_bytes: int = MAX_DOCUMENT) -> object:
    """Parse one JSON value, refusing what Python's parser lets through.

    Refused: duplicate keys, non-finite numbers, half characters, nesting deeper than 32, and
    anything that is not UTF-8.

    Raises:
        BadText: `code` says why.
    """
    if len(data) > max_bytes:
        raise BadText(TextCode.TOO_LONG, f"longer than {max_bytes} bytes", where)
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        value: object = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_short,
        )
        _check_tree(value)
    except BadText as error:
        raise BadText(error.code, error.reason, where) from error
    except UnicodeDecodeError as error:
        raise BadText(TextCode.NOT_UTF8, f"byte {error.start} is not UTF-8", where) from error
    except RecursionError as error:
        raise BadText(TextCode.TOO_DEEP, f"nested deeper than {MAX_DEPTH}", where) from error
    except ValueError as error:
        raise BadText(TextCode.NOT_JSON, str(error), where) from error
    return value


def read_json(path: Path | str, *, max_bytes: int = MAX_DOCUMENT) -> object:
    """Read one strict JSON document from a file.

    Raises:
        BadText: the content is refused.
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return parse_json(file.read(max_bytes + 1), str(path), max_bytes=max_bytes)


def read_jsonl(path: Path | str) -> Iterator[tuple[int, dict[str, object] | BadLine]]:
    r"""Yield (line number, object or BadLine) for every line that is not blank.

    Lines are numbered from 1 and end at \n only, never at U+2028; \r\n is fine, and so is a byte
    order mark at the start of the file. Reads one line at a time, at most 1 MiB of it.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        for number, raw in enumerate(_lines(file), start=1):
            body = raw
            if number == 1 and raw.startswith(_BOM):
                getLogger(__name__).info("%s begins with a byte order mark; ignored", path)
                body = raw[len(_BOM) :]
            if body.strip():
                yield number, _parse_line(body, f"{path}:{number}", number)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Split on newlines; of an over-long line only enough to recognise it is kept."""
    while raw := file.readline(MAX_LINE + 2):
        rest = raw
        while not rest.endswith(_NEWLINE) and (rest := file.readline(MAX_LINE)):
            pass
        yield raw.removesuffix(_NEWLINE)


def _parse_line(raw: bytes, where: str, line: int) -> dict[str, object] | BadLine:
    try:
        value = parse_json(raw, where, max_bytes=MAX_LINE)
    except BadText as error:
        return BadLine(code=error.code, reason=error.reason, where=where, line=line)
    if isinstance(value, dict):
        return cast(dict[str, object], value)
    reason = f"expected an object, found {type(value).__name__}"
    return BadLine(code=TextCode.NOT_OBJECT, reason=reason, where=where, line=line)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    seen: set[str] = set()
    twice = next(key for key, _ in pairs if key in seen or seen.add(key))
    raise BadText(TextCode.DUPLICATE_KEY, f"key {twice!r} appears twice")


def _refuse_constant(text: str) -> NoReturn:
    raise BadText(TextCode.NON_FINITE, f"{text} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise BadText(TextCode.NON_FINITE, f"{text[:40]} overflows to infinity")
    return value


def _short(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise BadText(TextCode.NUMBER, f"an integer has {len(text)} digits")
    return int(text)


def _check_tree(value: object) -> None:
    """Check the depth and every string without recursion."""
    stack: list[tuple[object, int]] = [(value, 1)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, str):
            _check_characters(node)
        elif isinstance(node, dict | list):
            if depth > MAX_DEPTH:
                raise BadText(TextCode.TOO_DEEP, f"nested deeper than {MAX_DEPTH}")
            branch = cast(dict[str, object] | list[object], node)
            children = [*branch, *branch.values()] if isinstance(branch, dict) else branch
            stack.extend((child, depth + 1) for child in children)


def _check_characters(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise BadText(TextCode.SURROGATE, f"{half} is half of a character pair") from error
