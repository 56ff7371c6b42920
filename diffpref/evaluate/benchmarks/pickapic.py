"""The distinct prompts of Pick-a-Pic's test split: 500 in v2; no evaluator of its own."""

from collections.abc import Iterator
from pathlib import Path

from diffpref.errors import DataError
from diffpref.evaluate.benchmarks.benchmark import Benchmark, Item
from diffpref.evaluate.benchmarks.files import json_lines, text_field

SPLIT = "test_unique"
COLUMNS = ("caption", "prompt")
"""What the prompt is called: in Pick-a-Pic, and in our own schema."""


def read_pickapic(path: Path) -> list[Item]:
    """Return the distinct prompts of parquet or jsonl files, in their order.

    Of a folder of shards the split test_unique is read; of a parquet file, that file. Images are
    not read.

    Source: yuvalkirstain/pickapic_v1 and _v2, whose split test_unique has one row per prompt.

    Raises:
        DataError: a file is damaged or names no prompt.
    """
    captions = _of_lines(path) if path.suffix == ".jsonl" else _of_parquet(path)
    distinct = dict.fromkeys(text for caption in captions if (text := caption.strip()))
    return [Item(prompt=prompt, id=str(n)) for n, prompt in enumerate(distinct)]


def _of_lines(path: Path) -> Iterator[str]:
    for line, row in json_lines(path):
        name = next((each for each in COLUMNS if each in row), COLUMNS[0])
        yield text_field(row, name, f"{path}:{line}")


def _of_parquet(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from diffpref.data.readers.parquet import shards

    files = shards(str(path), SPLIT)
    if not files:
        hint = "give a folder of Pick-a-Pic parquet shards, one of them, or a .jsonl file"
        raise DataError("holds no parquet file", where=str(path), hint=hint)
    for file in files:
        try:
            with pq.ParquetFile(file) as shard:
                column = next((n for n in COLUMNS if n in shard.schema_arrow.names), None)
                if column is None:
                    hint = f"its columns: {', '.join(shard.schema_arrow.names)[:200]}"
                    raise DataError("there is no column caption", where=str(file), hint=hint)
                for batch in shard.iter_batches(columns=[column]):
                    yield from map(str, filter(None, batch.column(0).to_pylist()))
        except (pa.ArrowException, OSError) as error:
            what, hint = f"cannot be read: {str(error)[:200]}", "fetch the file again"
            raise DataError(what, where=str(file), hint=hint) from error


PICKAPIC = Benchmark(
    read=read_pickapic, prompts="Pick-a-Pic parquet (test_unique of a folder), or .jsonl"
)
