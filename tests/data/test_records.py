"""Every reason for which a row is left out, each with a row that has it."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffpref.data.readers import open_records
from diffpref.data.records import HARMLESS, BadRow, ImageRef, Record, RowCode
from diffpref.data.validate import MAX_IMAGES, MAX_PROMPT, Place, check_row, number
from diffpref.io import ImageCode, PathCode, TextCode
from tests.data.makers import codes, good, png, write_lines

GOOD = {"prompt": "a boat", "images": ["a.png", "b.png"], "scores": [1, 0]}


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in GOOD.items() if key != name}


def changed(**fields: object) -> dict[str, object]:
    return {**GOOD, **fields}


LINES: list[tuple[dict[str, object] | str, str]] = [
    (without("prompt"), RowCode.MISSING_FIELD),
    (without("images"), RowCode.MISSING_FIELD),
    (changed(scores=None), RowCode.MISSING_FIELD),
    (changed(prompt=7), RowCode.WRONG_TYPE),
    (changed(images="a.png"), RowCode.WRONG_TYPE),
    (changed(images=[1, 2]), RowCode.WRONG_TYPE),
    (changed(scores=1), RowCode.WRONG_TYPE),
    (changed(user=[1]), RowCode.WRONG_TYPE),
    (changed(id=True), RowCode.WRONG_TYPE),
    (changed(prompt=" \t"), RowCode.EMPTY_PROMPT),
    (changed(prompt="a" * (MAX_PROMPT + 1)), RowCode.LONG_PROMPT),
    (changed(prompt="nul \0 inside"), RowCode.BAD_TEXT),
    (changed(images=[], scores=[]), RowCode.NO_IMAGES),
    (
        changed(images=["a.png"] * (MAX_IMAGES + 1), scores=[0] * (MAX_IMAGES + 1)),
        RowCode.TOO_MANY_IMAGES,
    ),
    (changed(scores=[1, 0, 0]), RowCode.COUNT_MISMATCH),
    (changed(scores=[True, False]), RowCode.BAD_SCORE),
    (changed(scores=["1", "0"]), RowCode.BAD_SCORE),
    (changed(scores=[1, None]), RowCode.BAD_SCORE),
    (changed(weight=0), RowCode.BAD_WEIGHT),
    (changed(weight="heavy"), RowCode.BAD_WEIGHT),
    (changed(images=["a.png", "a.png"]), RowCode.SELF_PAIR),
    (changed(images=["a.png", "./a.png"]), RowCode.SELF_PAIR),
    ({**without("scores"), "ranking": [1, 65]}, RowCode.BAD_RANKING),
    ({**without("scores"), "ranking": [0, 2]}, RowCode.BAD_RANKING),
    ({**without("scores"), "ranking": [1.0, 2.0]}, RowCode.BAD_RANKING),
    (changed(images=["../a.png", "b.png"]), PathCode.PARENT),
    (changed(images=["/etc/passwd", "b.png"]), PathCode.ABSOLUTE),
    (changed(images=["https://example.org/a.png", "b.png"]), PathCode.REMOTE),
    (changed(images=["gone.png", "b.png"]), PathCode.MISSING),
    ("{not json", TextCode.NOT_JSON),
    ("[1, 2]", TextCode.NOT_OBJECT),
    ('{"prompt": "a", "prompt": "b"}', TextCode.DUPLICATE_KEY),
    ('{"prompt": "a", "scores": [NaN]}', TextCode.NON_FINITE),
    ('{"prompt": "a", "scores": [1e999]}', TextCode.NON_FINITE),
    ('{"prompt": "\\ud800"}', TextCode.SURROGATE),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "b.png").write_bytes(png(2))
    return tmp_path


@pytest.mark.parametrize(("line", "code"), LINES)
def test_a_bad_line_is_named_with_its_reason_and_the_next_line_is_read(
    folder: Path, line: dict[str, object] | str, code: str
) -> None:
    path = write_lines(folder / "pairs.jsonl", [GOOD, line, GOOD])
    before, bad, after = open_records(str(path)).rows()
    assert isinstance(bad, BadRow)
    assert (bad.code, bad.file, bad.line) == (code, "pairs.jsonl", 2)
    assert bad.reason
    assert isinstance(before, Record)
    assert isinstance(after, Record)
    assert (before.where, after.where) == ("pairs.jsonl:1", "pairs.jsonl:3")


def test_every_row_code_has_a_meaning_and_a_row_in_these_tests() -> None:
    elsewhere = {
        RowCode.BAD_LABEL,
        RowCode.UNLABELLED,
        RowCode.DAMAGED_FILE,
        RowCode.MISSING_SIDE,
        RowCode.MISSING_CAPTION,
        RowCode.NO_LABEL,
    }
    assert {code for _, code in LINES if code in set(RowCode)} | elsewhere == set(RowCode)
    assert all(code.meaning for code in RowCode)
    assert set(RowCode) >= HARMLESS


@pytest.mark.parametrize(
    ("label_0", "label_1", "code"),
    [
        (2.0, None, RowCode.BAD_LABEL),
        (-0.5, None, RowCode.BAD_LABEL),
        (math.nan, None, RowCode.BAD_LABEL),
        (None, 1.0, RowCode.BAD_LABEL),
        (1.0, 1.0, RowCode.BAD_LABEL),
    ],
)
def test_a_label_outside_of_its_range_is_a_bad_row(
    tmp_path: Path, label_0: float | None, label_1: float | None, code: str
) -> None:
    table = pa.table(
        {
            "caption": ["a", "b"],
            "label_0": pa.array([label_0, 0.5], pa.float64()),
            "label_1": pa.array([label_1, 0.5], pa.float64()),
            "jpg_0": [png(1), png(1)],
            "jpg_1": [png(2), png(2)],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    bad, kept = open_records(str(tmp_path / "rows.parquet")).rows()
    assert isinstance(bad, BadRow)
    assert (bad.code, bad.line) == (code, 1)
    assert isinstance(kept, Record)
    assert kept.scores == (0.5, 0.5)


def test_a_misspelt_field_is_suggested(folder: Path) -> None:
    path = write_lines(folder / "pairs.jsonl", [{**without("prompt"), "promt": "a boat"}])
    (bad,) = open_records(str(path)).rows()
    assert isinstance(bad, BadRow)
    assert "rename 'promt'" in bad.reason
    assert bad.column == "prompt"


def test_all_fields_of_the_schema_are_kept(folder: Path) -> None:
    row = changed(user="ana", id=12, source="study", weight=0.25, scores=[0.5, 3])
    path = write_lines(folder / "pairs.jsonl", [{**row, "nonce": "x", "left": 1, "time": "now"}])
    (record,) = good(list(open_records(str(path)).rows()))
    assert (record.prompt, record.scores) == ("a boat", (0.5, 3.0))
    assert (record.user, record.id, record.source, record.weight) == ("ana", "12", "study", 0.25)
    assert [image.key for image in record.images] == ["a.png", "b.png"]


def test_numbers_of_any_size_are_a_score_or_a_bad_row_and_never_an_error() -> None:
    def image(value: object, index: int) -> ImageRef:
        return ImageRef(key=f"{value}{index}")

    place = Place(file="x", line=1)
    for score in (10**400, -(10**5000)):
        row = check_row(changed(scores=[score, 0]), place, image)
        assert codes([row]) == [RowCode.BAD_SCORE]
    row = check_row(changed(id=10**5000), place, image)
    assert isinstance(row, Record)
    assert number(10**18, "code", "column") == 1e18


def test_a_bad_row_is_told_in_one_line_and_as_json() -> None:
    bad = BadRow(file="f", line=3, row_id="7", column="prompt", code="c", reason="why")
    assert str(bad) == "f:3: c (prompt): why"
    assert bad.plain() == {
        "file": "f",
        "line": 3,
        "row_id": "7",
        "column": "prompt",
        "code": "c",
        "reason": "why",
    }


def test_pixels_that_were_not_read_are_not_made_up() -> None:
    with pytest.raises(ValueError, match="without its pixels"):
        _ = ImageRef(key="uid").content


def test_a_column_without_bytes_is_a_missing_image(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table = pa.table({"caption": ["a"], "label_0": [1.0], "jpg_0": [b""], "jpg_1": [png(2)]})
    pq.write_table(table, path)
    (bad,) = open_records(str(path)).rows()
    assert isinstance(bad, BadRow)
    assert (bad.code, bad.column) == (ImageCode.EMPTY, "jpg_0")
