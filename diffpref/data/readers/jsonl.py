"""Rows of the one schema: lines of a .jsonl file, or the items of a JSON list."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from diffpref.data.readers.files import row_from_files
from diffpref.data.readers.reader import Ask, Reader, stamp_rows
from diffpref.data.records import Row
from diffpref.data.validate import Fault, Place, bad_row
from diffpref.errors import DataError
from diffpref.io import BadLine, BadText, TextCode, read_json, read_jsonl

NAMES = ("metadata.jsonl", "pairs.jsonl")
"""Looked for in a folder before any other .jsonl file."""

MAX_LIST = 256 * 2**20
"""Bytes of a JSON list, which must be read whole; longer data belong into lines."""

Item = tuple[int, Mapping[str, object] | BadLine]


def lines_file(source: str) -> Path | None:
    """Return the .jsonl file a source means: itself, or the one in the folder."""
    path = Path(source)
    if path.is_file():
        return path if _first_byte(path) == b"{" else None
    if not path.is_dir():
        return None
    named = [path / name for name in NAMES if (path / name).is_file()]
    others = sorted(each for each in path.glob("*.jsonl") if each.name != "captions.jsonl")
    found = named or others
    return found[0] if named or len(found) == 1 else None


def _line_rows(source: str, ask: Ask) -> Iterator[Row]:
    path = _the_file(source)
    yield from _rows(path, islice(read_jsonl(path), ask.start, None))


def _list_rows(source: str, ask: Ask) -> Iterator[Row]:
    path = Path(source)
    items = [(line, _item(item, path, line)) for line, item in enumerate(_load_list(path), start=1)]
    yield from _rows(path, iter(items[ask.start :]))


def _rows(path: Path, items: Iterator[Item]) -> Iterator[Row]:
    for line, raw in items:
        place = Place(file=path.name, line=line)
        if isinstance(raw, BadLine):
            yield bad_row(Fault(raw.code, raw.reason), place)
        else:
            yield row_from_files(raw, path.parent, place)


def _item(value: object, path: Path, line: int) -> Mapping[str, object] | BadLine:
    if isinstance(value, dict):
        return value
    reason = f"expected an object, found {type(value).__name__}"
    code, where = TextCode.NOT_OBJECT, f"{path.name}:{line}"
    return BadLine(code=code, reason=reason, where=where, line=line)


def _load_list(path: Path) -> list[object]:
    try:
        value = read_json(path, max_bytes=MAX_LIST)
    except BadText as error:
        hint = "mend the file, or write one object per line and name it .jsonl"
        raise DataError(error.reason, where=path.name, hint=hint) from error
    if not isinstance(value, list):
        raise DataError("must be a list of objects", where=path.name, hint="wrap it in [ ]")
    return value


def _the_file(source: str) -> Path:
    path = lines_file(source)
    if path is None:
        raise DataError(
            "there is no single .jsonl file",
            where=source,
            hint=f"name the file itself, or call it {NAMES[0]}",
        )
    return path


def _count_lines(source: str, ask: Ask) -> int | None:
    del ask
    with _the_file(source).open("rb") as stream:
        return sum(1 for line in stream if line.strip())


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _stamp(source: str, ask: Ask) -> str:
    whole = Ask(split=ask.split, pixels=False)
    rows = _list_rows(source, whole) if _is_list(source) else _line_rows(source, whole)
    return stamp_rows(rows)


def _is_list(source: str) -> bool:
    return Path(source).is_file() and _first_byte(Path(source)) == b"["


JSONL = Reader(
    summary="lines of {prompt, images, scores} beside the images (a .jsonl file or its folder)",
    knows=lambda source: lines_file(source) is not None,
    rows=_line_rows,
    count=_count_lines,
    stamp=_stamp,
)

RANKED = Reader(
    summary="a JSON list of {prompt, images, ranking or scores} beside the images",
    knows=_is_list,
    rows=_list_rows,
    count=lambda source, _ask: len(_load_list(Path(source))),
    stamp=_stamp,
)
