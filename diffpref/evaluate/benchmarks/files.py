"""The user's files of a benchmark, read strictly: UTF-8, no NUL, errors by file and line."""

import csv
from collections.abc import Iterator, Mapping
from io import StringIO
from math import isfinite, nan
from pathlib import Path

from diffpref.errors import DataError
from diffpref.io import BadLine, BadText, read_json, read_jsonl

MAX_BYTES = 64 * 2**20
NAMES = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
}


def read_text(path: Path) -> str:
    """Return the text of a file, its newlines as they are.

    Raises:
        DataError: there is no such file, it is too large, or no text.
    """
    if not path.is_file():
        hint = "give the benchmark's own file, as its authors publish it"
        raise DataError("there is no such file", where=str(path), hint=hint)
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"has more than {MAX_BYTES} bytes", where=str(path), hint="is it a text?")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"byte {error.start} is not UTF-8"
        raise DataError(what, where=str(path), hint="save the file as UTF-8") from error
    if "\0" in text:
        raise DataError("holds a NUL", where=str(path), hint="is this a text?")
    return text


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield (line number, line) of a text file; lines end at \n or \r\n, blank ones are skipped.

    Raises:
        DataError: as `read_text`.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def table_rows(
    path: Path, columns: tuple[str, ...], *, plain: bool = False
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) of a table with a head line.

    Args:
        path: the file.
        columns: what the head must name.
        plain: columns are split at tabs and quotes mean nothing; else it is a CSV file.

    Raises:
        DataError: a column is missing, or as `read_text`.
    """
    text = StringIO(read_text(path), newline="")
    if plain:
        reader = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.DictReader(text, strict=True)
    try:
        head = reader.fieldnames or ()
        missing = [name for name in columns if name not in head]
        if missing:
            hint = f"its columns: {', '.join(head)[:200] or 'none'}"
            raise DataError(f"there is no column {missing[0]}", where=str(path), hint=hint)
        for row in reader:
            yield reader.line_num, {name: row[name] or "" for name in row if isinstance(name, str)}
    except csv.Error as error:
        where = f"{path}:{reader.line_num}"
        raise DataError(f"is not a table: {error}", where=where, hint="mend this line") from error


def json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield (line number, object) of a jsonl file.

    Raises:
        DataError: there is no such file, or a line is no object.
    """
    if not path.is_file():
        hint = "give the benchmark's own file, as its authors publish it"
        raise DataError("there is no such file", where=str(path), hint=hint)
    for number, row in read_jsonl(path):
        if isinstance(row, BadLine):
            where = f"{path}:{number}"
            raise DataError(row.reason, where=where, hint="every line is one JSON object")
        yield number, row


def json_list(path: Path) -> list[object]:
    """Return the items of a JSON list.

    Raises:
        DataError: there is no such file, or it holds something else.
    """
    try:
        value = read_json(path)
    except BadText as error:
        raise DataError(error.reason, where=str(path), hint="mend the file") from error
    except OSError as error:
        hint = "give the benchmark's own file, as its authors publish it"
        raise DataError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from error
    if not isinstance(value, list):
        hint = f"found {type(value).__name__}; is this the file you meant?"
        raise DataError("is not a JSON list", where=str(path), hint=hint)
    return value


def field(row: object, name: str, kind: type | tuple[type, ...], where: str) -> object:
    """Return a field of a JSON object that must be of a kind; true and false are no numbers.

    Raises:
        DataError: it is absent or of another kind.
    """
    value = row.get(name) if isinstance(row, Mapping) else None
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        known = ", ".join(map(str, row))[:200] if isinstance(row, Mapping) else "no object"
        wanted = " or ".join(NAMES[each] for each in kinds)
        raise DataError(f"'{name}' is not {wanted}", where=where, hint=f"its fields: {known}")
    return value


def text_field(row: object, name: str, where: str) -> str:
    """Return a text of a JSON object without white space around it.

    Raises:
        DataError: it is absent, empty, or no text.
    """
    text = str(field(row, name, str, where)).strip()
    if not text:
        raise DataError(f"'{name}' is empty", where=where, hint="mend this row")
    return text


def number(value: object, where: str) -> float:
    """Return a finite number that a file holds, or holds as text.

    Raises:
        DataError: it is none.
    """
    try:
        found = float(str(value))
    except ValueError:
        found = nan
    if not isfinite(found):
        hint = "a score is a finite number: leave this row out, or score it again"
        raise DataError(f"'{str(value)[:40]}' is no score", where=where, hint=hint)
    return found
