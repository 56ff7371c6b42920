"""The door for CSV: strict UTF-8, one header, every row as long as it."""

import csv
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from diffpref.io.codes import BadText, TextCode

MAX_TABLE = 256 * 2**20


def read_csv(path: Path | str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, cells by column) of a comma-separated file.

    The first line names the columns; a byte order mark is ignored; a blank line is skipped.

    Raises:
        BadText: not UTF-8, a NUL, an unclosed quote, a column named twice, or a row of another
            length.
        OSError: the file cannot be read.
    """
    lines = csv.reader(StringIO(_text(Path(path)), newline=""), strict=True)
    try:
        names = next(lines, list[str]())
        if len(set(names)) != len(names):
            raise BadText(TextCode.DUPLICATE_KEY, "a column is named twice", f"{path}:1")
        for cells in lines:
            if cells and len(cells) != len(names):
                what = f"{len(cells)} cells under {len(names)} columns"
                raise BadText(TextCode.TABLE, what, f"{path}:{lines.line_num}")
            if cells:
                yield lines.line_num, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise BadText(TextCode.TABLE, str(error), f"{path}:{lines.line_num}") from error


def _text(file: Path) -> str:
    if file.stat().st_size > MAX_TABLE:
        raise BadText(TextCode.TOO_LONG, f"longer than {MAX_TABLE} bytes", str(file))
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"byte {error.start} is not UTF-8"
        raise BadText(TextCode.NOT_UTF8, what, str(file)) from error
    if "\0" in text:
        raise BadText(TextCode.TABLE, "holds a NUL", str(file))
    return text
