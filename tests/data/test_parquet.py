"""Pick-a-Pic parquet, v1 and v2, in one file and in shards."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffpref.data.readers import open_records
from diffpref.data.readers import parquet as reader
from diffpref.data.records import BadRow, Record, RowCode
from diffpref.data.writers import write_pickapic
from diffpref.errors import DataError
from tests.data.makers import codes, good, pair, png


def published(rows: int, *, start: int = 0, **changes: list[Any]) -> pa.Table:
    """A table with the columns of the published files, whose v1 and v2 are the same."""
    numbers = range(start, start + rows)
    columns: dict[str, Any] = {
        "are_different": [True] * rows,
        "best_image_uid": [f"u{n}-0" for n in numbers],
        "caption": [f"caption {n}" for n in numbers],
        "created_at": pa.array([0] * rows, pa.timestamp("ns")),
        "has_label": [True] * rows,
        "image_0_uid": [f"u{n}-0" for n in numbers],
        "image_0_url": ["https://example.org/0.png"] * rows,
        "image_1_uid": [f"u{n}-1" for n in numbers],
        "image_1_url": ["https://example.org/1.png"] * rows,
        "jpg_0": [png(2 * n) for n in numbers],
        "jpg_1": [png(2 * n + 1) for n in numbers],
        "label_0": [1.0] * rows,
        "label_1": [0.0] * rows,
        "model_0": ["stabilityai/xl"] * rows,
        "model_1": ["dreamlike-photoreal-2.0"] * rows,
        "ranking_id": list(numbers),
        "user_id": [n % 3 for n in numbers],
        "num_example_per_prompt": [1] * rows,
        "__index_level_0__": list(numbers),
    }
    return pa.table({**columns, **changes})


def test_a_published_row_becomes_a_record(tmp_path: Path) -> None:
    labels = {"label_0": [1.0, 0.0, 0.5], "label_1": [0.0, 1.0, 0.5]}
    pq.write_table(published(3, **labels), tmp_path / "a.parquet")
    source = open_records(str(tmp_path / "a.parquet"))
    records = good(list(source.rows()))
    assert source.format == "pickapic"
    assert [record.scores for record in records] == [(1, 0), (0, 1), (0.5, 0.5)]
    assert [record.tied for record in records] == [False, False, True]
    first = records[0]
    assert (first.prompt, first.user, first.id) == ("caption 0", "0", "0")
    assert first.where == "a.parquet:1"
    assert [image.key for image in first.images] == ["u0-0", "u0-1"]
    assert [image.generator for image in first.images] == [
        "stabilityai/xl",
        "dreamlike-photoreal-2.0",
    ]
    assert first.images[0].content == png(0)


def test_the_few_columns_that_are_needed_are_enough(tmp_path: Path) -> None:
    needed = published(2).select(["caption", "label_0", "jpg_0", "jpg_1"])
    pq.write_table(needed, tmp_path / "a.parquet")
    source = open_records(str(tmp_path))
    full, light = list(source.rows()), list(source.rows(pixels=False))
    assert [record.scores for record in good(full)] == [(1, 0), (1, 0)]
    keys = [[image.key for image in record.images] for record in good(full)]
    assert keys == [[image.key for image in record.images] for record in good(light)]
    assert len({key for row in keys for key in row}) == 4


def test_a_light_read_leaves_the_bytes_on_the_disk(tmp_path: Path) -> None:
    pq.write_table(published(3), tmp_path / "a.parquet")
    rows = good(list(open_records(str(tmp_path)).rows(pixels=False)))
    assert [row.images[0].key for row in rows] == ["u0-0", "u1-0", "u2-0"]
    assert all(image.data is None for row in rows for image in row.images)


def test_a_row_nobody_voted_on_is_told_apart_from_a_defect(tmp_path: Path) -> None:
    changes = {"has_label": [True, False], "label_0": [1.0, None], "label_1": [0.0, None]}
    pq.write_table(published(2, **changes), tmp_path / "a.parquet")
    assert codes(list(open_records(str(tmp_path)).rows())) == [RowCode.UNLABELLED]


def test_a_row_without_caption_is_named_by_its_column(tmp_path: Path) -> None:
    pq.write_table(published(1, caption=pa.array([None], pa.string())), tmp_path / "a.parquet")
    (bad,) = open_records(str(tmp_path)).rows()
    assert isinstance(bad, BadRow)
    assert (bad.code, bad.column, bad.row_id) == (RowCode.MISSING_FIELD, "caption", "0")


def shards(root: Path) -> Path:
    """Three shards of train with row groups of two, and one of test."""
    (root / "data").mkdir()
    for shard in range(3):
        name = f"data/train-{shard:05}-of-00003-0123456789abcdef.parquet"
        pq.write_table(published(5, start=5 * shard), root / name, row_group_size=2)
    pq.write_table(published(2, start=90), root / "data" / "test-00000-of-00001.parquet")
    return root


def test_shards_are_one_source_and_splits_are_not_mixed(tmp_path: Path) -> None:
    source = open_records(str(shards(tmp_path)))
    assert [row.id for row in good(list(source.rows()))] == [str(n) for n in range(15)]
    assert source.count() == 15
    test = open_records(str(tmp_path), split="test")
    assert [row.id for row in good(list(test.rows()))] == ["90", "91"]
    with pytest.raises(DataError, match="known: test, train"):
        list(open_records(str(tmp_path), split="validation").rows())


def test_reading_may_start_in_any_shard_and_row_group(tmp_path: Path) -> None:
    source = open_records(str(shards(tmp_path)))
    whole = list(source.rows())
    assert all(list(source.rows(start=start)) == whole[start:] for start in range(17))


def test_row_groups_before_the_start_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_records(str(shards(tmp_path)))
    seen: list[str | None] = []
    original = reader.row_from_columns

    def counted(raw: Any, place: Any) -> Any:
        seen.append(place.file)
        return original(raw, place)

    monkeypatch.setattr(reader, "row_from_columns", counted)
    assert len(list(source.rows(start=12))) == 3
    assert len(seen) == 3


def test_rows_are_read_as_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(published(20), tmp_path / "a.parquet", row_group_size=4)
    groups: list[int] = []
    original = pq.ParquetFile.iter_batches

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        groups.extend(options["row_groups"])
        return original(self, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    rows = open_records(str(tmp_path)).rows()
    next(rows)
    assert groups == [0]
    assert len(list(rows)) == 19
    assert groups == [0, 1, 2, 3, 4]


def test_a_damaged_row_group_costs_its_own_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(published(6), path, row_group_size=2, compression="none")
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(1).column(9)
    assert column.path_in_schema == "jpg_0"
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 12] = b"\xff" * 12
    path.write_bytes(data)
    source = open_records(str(path))
    rows = list(source.rows())
    assert len(rows) == source.count() == 6
    assert [row.id for row in good(rows)] == ["0", "1", "4", "5"]
    assert codes(rows) == [RowCode.DAMAGED_FILE] * 2
    assert [row.line for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(list(source.rows(start=start)) == rows[start:] for start in range(7))


def test_a_truncated_shard_is_one_bad_row_and_the_others_are_read(tmp_path: Path) -> None:
    root = shards(tmp_path)
    first = sorted((root / "data").glob("train*"))[0]
    first.write_bytes(first.read_bytes()[:-20])
    source = open_records(str(root))
    rows = list(source.rows())
    assert codes(rows) == [RowCode.DAMAGED_FILE]
    assert len(good(rows)) == 10
    assert source.count() == 11


def test_an_edition_without_images_says_what_to_get(tmp_path: Path) -> None:
    pq.write_table(published(1).drop_columns(["jpg_0", "jpg_1"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="edition without images"):
        list(open_records(str(tmp_path)).rows())


def test_other_columns_are_met_with_the_nearest_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"captions": ["a"], "picture": [b"x"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="did you mean 'captions'"):
        list(open_records(str(tmp_path)).rows())


def test_our_own_schema_may_stand_in_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": ["three", "one"],
            "images": [[png(1), png(2), png(3)], [png(4)]],
            "scores": [[0.1, 0.9, 0.5], [1.0]],
            "user": ["ana", None],
            "weight": [2.0, None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    three, one = open_records(str(tmp_path)).rows()
    assert isinstance(three, Record)
    assert isinstance(one, Record)
    assert (three.scores, three.user, three.weight) == ((0.1, 0.9, 0.5), "ana", 2.0)
    assert (one.scores, one.user, one.weight) == ((1.0,), None, 1.0)
    assert one.images[0].content == png(4)


def test_the_stamp_follows_the_files(tmp_path: Path) -> None:
    write_pickapic(tmp_path / "a.parquet", [pair(1)])
    first = open_records(str(tmp_path)).stamp()
    write_pickapic(tmp_path / "a.parquet", [pair(1), pair(2)])
    assert open_records(str(tmp_path)).stamp() != first
