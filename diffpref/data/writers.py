"""Records to disk: the one schema beside its images, or Pick-a-Pic v2 parquet."""

import json
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from diffpref.data.records import ImageRef, Record
from diffpref.errors import DataError
from diffpref.io import write_atomic

ENDINGS = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"RI": ".webp"}
"""First bytes of an encoded image -> file ending."""

PICKAPIC = {
    "are_different": pa.bool_(),
    "best_image_uid": pa.string(),
    "caption": pa.string(),
    "created_at": pa.timestamp("ns"),
    "has_label": pa.bool_(),
    "image_0_uid": pa.string(),
    "image_0_url": pa.string(),
    "image_1_uid": pa.string(),
    "image_1_url": pa.string(),
    "jpg_0": pa.binary(),
    "jpg_1": pa.binary(),
    "label_0": pa.float64(),
    "label_1": pa.float64(),
    "model_0": pa.string(),
    "model_1": pa.string(),
    "ranking_id": pa.int64(),
    "user_id": pa.int64(),
    "num_example_per_prompt": pa.int64(),
}
"""The columns of Pick-a-Pic v2 and their types (v1 has the same)."""

ROWS_PER_GROUP = 256


def image_of(data: bytes, *, generator: str | None = None) -> ImageRef:
    """Return the reference of an encoded image in memory, named by its content."""
    key = blake2b(data, digest_size=16).hexdigest()
    return ImageRef(key=key, data=data, generator=generator)


def write_jsonl(folder: Path, rows: Iterable[Record]) -> Path:
    """Write `folder/metadata.jsonl` and every distinct image once; return the jsonl file.

    An image file is named by its content, so equal rows give equal folders.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for row in rows:
        names = [_write_image(folder, image) for image in row.images]
        lines.append(json.dumps(_plain(row, names), ensure_ascii=False))
    path = folder / "metadata.jsonl"
    write_atomic(path, "".join(line + "\n" for line in lines))
    return path


def write_pickapic(path: Path, rows: Iterable[Record]) -> Path:
    """Write pairs as one Pick-a-Pic v2 parquet file, all of them in memory at once.

    Raises:
        DataError: a row is no pair of votes that sum to one, or its user is no whole number.
    """
    table = [_pick_row(row) for row in rows]
    counts: dict[str, int] = {}
    for row in table:
        counts[str(row["caption"])] = counts.get(str(row["caption"]), 0) + 1
    for row in table:
        row["num_example_per_prompt"] = counts[str(row["caption"])]
    columns = [pa.array([row[name] for row in table], kind) for name, kind in PICKAPIC.items()]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, names=list(PICKAPIC)), sink, row_group_size=ROWS_PER_GROUP)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, sink.getvalue().to_pybytes())
    return path


def image_data(image: ImageRef) -> bytes:
    """Return the encoded bytes of an image, wherever it is."""
    content = image.content
    return content if isinstance(content, bytes) else content.read_bytes()


def image_name(data: bytes) -> str:
    """Return the file an encoded image gets in a data set, named by its content."""
    ending = next((name for start, name in ENDINGS.items() if data.startswith(start)), ".img")
    return f"images/{blake2b(data, digest_size=16).hexdigest()}{ending}"


def _write_image(folder: Path, image: ImageRef) -> str:
    data = image_data(image)
    name = image_name(data)
    if not (folder / name).exists():
        write_atomic(folder / name, data)
    return name


def _plain(row: Record, names: list[str]) -> dict[str, object]:
    optional = {"user": row.user, "id": row.id, "source": row.source}
    weight = {} if row.weight == 1 else {"weight": row.weight}
    return {
        "prompt": row.prompt,
        "images": names,
        "scores": list(row.scores),
        **{name: value for name, value in optional.items() if value is not None},
        **weight,
    }


def _pick_row(row: Record) -> dict[str, object]:
    scores = row.scores
    if len(scores) != 2 or abs(sum(scores) - 1) > 1e-9 or min(scores) < 0:
        what = f"scores {list(scores)} are not the two votes of a pair"
        raise DataError(what, where=row.where, hint="write this data with write_jsonl")
    best = row.images[0 if scores[0] >= scores[1] else 1]
    sides: dict[str, object] = {}
    for index, image in enumerate(row.images):
        sides[f"jpg_{index}"] = image_data(image)
        sides[f"label_{index}"] = scores[index]
        sides[f"image_{index}_uid"] = image.key
        sides[f"image_{index}_url"] = None
        sides[f"model_{index}"] = image.generator or row.source
    return {
        "caption": row.prompt,
        "are_different": True,
        "best_image_uid": "tie" if row.tied else best.key,
        "created_at": None,
        "has_label": True,
        "ranking_id": _whole(row, "id", row.id),
        "user_id": _whole(row, "user", row.user),
        **sides,
    }


def _whole(row: Record, column: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()):
        what = f"{column} '{value}' is not a whole number, which Pick-a-Pic's column needs"
        raise DataError(what, where=row.where, hint="number them, or write with write_jsonl")
    return int(value)
