"""What is written is read back as it was."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.data.writers import PICKAPIC, image_of, write_jsonl, write_pickapic
from diffpref.errors import DataError
from tests.data.makers import encoded, good, pair, picture, png

PAIRS = [
    pair(1, scores=(1, 0), user="4", id="17"),
    pair(2, scores=(0, 1), user="5"),
    pair(3, scores=(0.5, 0.5), prompt="prompt 1"),
]


def test_pickapic_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = write_pickapic(tmp_path / "deep" / "pairs.parquet", PAIRS)
    back = good(list(open_records(str(path)).rows()))
    assert [(r.prompt, r.scores, r.user, r.id) for r in back] == [
        (r.prompt, r.scores, r.user, r.id) for r in PAIRS
    ]
    assert [[i.content for i in r.images] for r in back] == [
        [i.content for i in r.images] for r in PAIRS
    ]


def test_pickapic_columns_and_types_are_those_of_the_published_files(tmp_path: Path) -> None:
    table = pq.read_table(write_pickapic(tmp_path / "pairs.parquet", PAIRS))
    assert {field.name: field.type for field in table.schema} == PICKAPIC
    assert table["best_image_uid"].to_pylist()[2] == "tie"
    assert table["best_image_uid"].to_pylist()[1] == PAIRS[1].images[1].key
    assert table["num_example_per_prompt"].to_pylist() == [2, 1, 2]
    assert table["label_1"].to_pylist() == [0.0, 1.0, 0.5]


@pytest.mark.parametrize(
    "row", [pair(1, scores=(1, 0, 0)), pair(1, scores=(3, 1)), pair(1, scores=(1,))]
)
def test_what_pickapic_cannot_hold_is_refused(tmp_path: Path, row: Record) -> None:
    with pytest.raises(DataError, match="write_jsonl"):
        write_pickapic(tmp_path / "pairs.parquet", [row])
    with pytest.raises(DataError, match="'ana' is not a whole number"):
        write_pickapic(tmp_path / "pairs.parquet", [pair(1, user="ana")])
    assert not list(tmp_path.iterdir())


def test_jsonl_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [
        *PAIRS,
        pair(5, scores=(1,), user="ana", source="study", weight=0.5),
        pair(6, scores=(3, 1, 2), prompt="é ✓"),
    ]
    path = write_jsonl(tmp_path / "out", rows)
    back = good(list(open_records(str(path)).rows()))
    assert [(r.prompt, r.scores, r.user, r.source, r.weight) for r in back] == [
        (r.prompt, r.scores, r.user, r.source, r.weight) for r in rows
    ]
    contents = [[i.path.read_bytes() for i in r.images if i.path] for r in back]
    assert contents == [[i.content for i in r.images] for r in rows]


def test_an_image_is_written_once_under_the_name_of_its_content(tmp_path: Path) -> None:
    shared = image_of(png(1))
    jpeg = image_of(encoded(picture(2), "JPEG"))
    webp = image_of(encoded(picture(3), "WEBP"))
    rows = [
        Record(prompt=str(n), images=(shared, other), scores=(1.0, 0.0))
        for n, other in enumerate((jpeg, webp))
    ]
    write_jsonl(tmp_path, rows)
    names = sorted(path.suffix for path in (tmp_path / "images").iterdir())
    assert names == [".jpg", ".png", ".webp"]
    first = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()}
    write_jsonl(tmp_path, rows)
    assert first == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()}
