"""Parquet files, read by row group: one file, or a folder of shards."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from diffpref.data.readers.columns import row_from_columns, wanted
from diffpref.data.readers.reader import Ask, Reader, stamp_files
from diffpref.data.records import BadRow, Row, RowCode
from diffpref.data.validate import Fault, Place, bad_row
from diffpref.errors import DataError, nearest

MAGIC = b"PAR1"
UNREADABLE = (pa.ArrowException, OSError, ValueError)
"""What pyarrow raises for a damaged file; names that are no UTF-8 are a ValueError."""
SHARD = re.compile(r"^(?P<split>\w+)-\d{5}-of-\d{5}(-\w+)?\.parquet$")
ROWS_AT_ONCE = 64
"""Two photographs a row: about 20 MB in memory."""


def shards(source: str, split: str) -> list[Path]:
    """Return the files of one split in the order of their names; unsplit files are all of them.

    Raises:
        DataError: the shards are of other splits.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    files = sorted(path.rglob("*.parquet"))
    splits = {file: match["split"] for file in files if (match := SHARD.match(file.name))}
    if not splits:
        return files
    chosen = [file for file, name in splits.items() if name == split]
    if not chosen:
        hint = nearest(split, set(splits.values()))
        raise DataError(f"there is no split '{split}'", where=source, hint=hint)
    return chosen


def _knows(source: str) -> bool:
    path = Path(source)
    if path.is_file():
        with path.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    return path.is_dir() and next(path.rglob("*.parquet"), None) is not None


def _rows(source: str, ask: Ask) -> Iterator[Row]:
    start = ask.start
    for path in shards(source, ask.split):
        count = _length(path)
        if start >= count:
            start -= count
            continue
        yield from _shard_rows(path, ask.pixels, start)
        start = 0


def _shard_rows(path: Path, pixels: bool, start: int) -> Iterator[Row]:
    """Yield the rows of one shard from row `start`, one for each row its footer promises."""
    try:
        shard = pq.ParquetFile(path)
    except UNREADABLE as error:
        yield _damaged(path, 0, error)
        return
    with shard:
        names = wanted(shard.schema_arrow.names, pixels=pixels, where=path.name)
        first = 0
        for group in range(shard.num_row_groups):
            end = first + shard.metadata.row_group(group).num_rows
            if end > start:
                rows = _group_rows(shard, group, names, path, range(first, end))
                yield from islice(rows, max(start - first, 0), None)
            first = end


def _group_rows(
    shard: pq.ParquetFile, group: int, names: list[str], path: Path, numbers: range
) -> Iterator[Row]:
    """Yield the rows of a row group; what cannot be read becomes bad rows of the same number."""
    done = numbers.start
    try:
        for raw in _raw_rows(shard, group, names):
            done += 1
            yield row_from_columns(raw, Place(file=path.name, line=done))
    except OSError as error:
        for line in range(done + 1, numbers.stop + 1):
            yield _damaged(path, line, error)


def _raw_rows(shard: pq.ParquetFile, group: int, names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a row group as they stand there.

    Raises:
        OSError: they cannot be read.
    """
    try:
        for batch in shard.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=names):
            yield from batch.to_pylist()
    except UNREADABLE as error:
        raise OSError(str(error)) from error


def _damaged(path: Path, line: int, error: Exception) -> BadRow:
    reason = f"cannot be read: {str(error)[:200]}"
    return bad_row(Fault(RowCode.DAMAGED_FILE, reason), Place(file=path.name, line=line))


def _length(path: Path) -> int:
    """Return how many rows a shard yields: a file that cannot be opened yields one bad row."""
    try:
        return pq.read_metadata(path).num_rows
    except UNREADABLE:
        return 1


def _stamp(source: str, ask: Ask) -> str:
    return stamp_files(shards(source, ask.split))


PARQUET = Reader(
    summary="Pick-a-Pic v1 or v2 parquet (jpg_0, jpg_1, caption, label_0 ...), or our schema",
    knows=_knows,
    rows=_rows,
    count=lambda source, ask: sum(map(_length, shards(source, ask.split))),
    stamp=_stamp,
)
