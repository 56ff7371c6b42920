"""Thousands of damaged rows: every one is named, every sound one is kept, nothing crashes."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffpref.data.readers import open_records
from diffpref.data.records import BadRow, Record, Row, RowCode
from diffpref.errors import DiffprefError
from diffpref.io import ImageCode, PathCode, TextCode
from tests.data.makers import png

CODES = {*RowCode, *ImageCode, *PathCode, *TextCode}
Damage = Callable[[random.Random, dict[str, Any]], object]

VALUES: list[object] = [None, True, -1, 0, 1e308, "", " ", "x" * 9, [], {}, [[]], ["a.png"], "\0"]


def _another_type(rng: random.Random, row: dict[str, Any]) -> object:
    row[rng.choice(["prompt", "images", "scores"])] = rng.choice([None, True, 7, {}, {"a": 1}])
    return row


def _lost_field(rng: random.Random, row: dict[str, Any]) -> object:
    del row[rng.choice(["prompt", "images", "scores"])]
    return row


def _odd_item(rng: random.Random, row: dict[str, Any]) -> object:
    name = rng.choice(["images", "scores"])
    odd = rng.choice([None, True, "gone.png", [], {}, "../a.png", "/a.png", "C:a.png", "a\0b"])
    row[name][rng.randrange(len(row[name]))] = odd
    return row


def _wrong_count(rng: random.Random, row: dict[str, Any]) -> object:
    row["scores"] = row["scores"] * 2 if rng.random() < 0.5 else row["scores"][1:]
    return row


def _same_image(rng: random.Random, row: dict[str, Any]) -> object:
    del rng
    row["images"][1] = row["images"][0]
    return row


def _cut(rng: random.Random, row: dict[str, Any]) -> object:
    text = json.dumps(row).encode()
    return text[: rng.randrange(1, len(text))]


def _bytes(rng: random.Random, row: dict[str, Any]) -> object:
    text = bytearray(json.dumps(row).encode())
    text[rng.randrange(len(text))] = rng.choice([0xFF, 0xC0, 0x80])
    return bytes(text)


def _text(rng: random.Random, row: dict[str, Any]) -> object:
    del row
    return rng.choice(
        [
            b"null",
            b'"text"',
            b"[" * 5000,
            b'{"a":' * 500 + b"1" + b"}" * 500,
            b"1" * 6000,
            b'{"prompt": "a", "prompt": "b"}',
            b'{"scores": [NaN, Infinity]}',
            b'{"scores": [' + b"9" * 5000 + b"]}",
            b'{"prompt": "\\ud834"}',
            b"\xef\xbb\xbf{}",
            b"\x00",
        ]
    )


def _weight(rng: random.Random, row: dict[str, Any]) -> object:
    row["weight"] = rng.choice([0, -1, True, "1", [], {}])
    return row


DAMAGES: list[Damage] = [
    _another_type,
    _lost_field,
    _odd_item,
    _wrong_count,
    _same_image,
    _cut,
    _bytes,
    _text,
    _weight,
]


def _sound(rng: random.Random, number: int) -> dict[str, Any]:
    count = rng.randint(2, 4)
    row: dict[str, Any] = {
        "prompt": rng.choice(["a boat", "caf\u00e9 \u2028 line", "\u202eright to left", "🎨 x"]),
        "images": rng.sample(["a.png", "b.png", "c.png", "d.png"], count),
        "scores": [rng.choice([0, 1, 0.5, -3.25, 7]) for _ in range(count)],
        "id": number,
    }
    extras = {"user": "ana", "source": "s", "weight": 0.5, "nonce": [1, {"a": None}], "left": 0}
    return {**row, **{name: extras[name] for name in extras if rng.random() < 0.3}}


SIZES = [2000, pytest.param(10_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("rows", SIZES)
def test_lines_sound_and_damaged_are_told_apart(
    tmp_path: Path, rows: int, count: Callable[[str, int], None]
) -> None:
    rng = random.Random(20)
    for seed, name in enumerate("abcd"):
        (tmp_path / f"{name}.png").write_bytes(png(seed))
    lines: list[bytes] = []
    sound: dict[int, dict[str, Any]] = {}
    for number in range(1, rows + 1):
        row = _sound(rng, number)
        if rng.random() < 0.5:
            sound[number] = row
            lines.append(json.dumps(row, ensure_ascii=rng.random() < 0.5).encode())
        else:
            damaged = rng.choice(DAMAGES)(rng, row)
            lines.append(damaged if isinstance(damaged, bytes) else json.dumps(damaged).encode())
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    found = list(open_records(str(tmp_path / "rows.jsonl")).rows())
    assert [row.line for row in found] == list(range(1, rows + 1))
    for row in found:
        _judged(row, row.line in sound)
        if isinstance(row, Record):
            _same(row, sound[row.line])
    count("fuzzed rows of jsonl", rows)


def _judged(row: Row, sound: bool) -> None:
    """Assert that a row was kept if it is sound, and else named with a code and a reason."""
    assert isinstance(row, Record) == sound, row
    if isinstance(row, BadRow):
        assert row.code in CODES
        assert row.reason
        json.dumps(row.plain(), ensure_ascii=False).encode()


COLUMNS: list[tuple[str, list[object]]] = [
    ("caption", [None, "", " \t ", "x" * 10_001, "a\0b"]),
    ("label_0", [None, float("nan"), float("inf"), -0.5, 1.5, 1e308]),
    ("label_1", [float("nan"), float("-inf"), 0.3, -1.0]),
    ("jpg_0", [None, b""]),
    ("jpg_1", [None, b""]),
    ("has_label", [False]),
    ("image_1_uid", ["u-0"]),  # the other image's
]
"""Column of the published layout -> values that make a row unusable."""


@pytest.mark.parametrize("rows", SIZES)
def test_rows_of_parquet_sound_and_damaged_are_told_apart(
    tmp_path: Path, rows: int, count: Callable[[str, int], None]
) -> None:
    rng = random.Random(21)
    table: list[dict[str, object]] = []
    sound: set[int] = set()
    for number in range(1, rows + 1):
        label = rng.choice([0.0, 0.5, 1.0, 0.25])
        row: dict[str, object] = {
            "caption": rng.choice(["a boat", "caf\u00e9 \u2028", "\u202eright"]),
            "jpg_0": b"0" * rng.randrange(1, 9),
            "jpg_1": b"1" * rng.randrange(1, 9),
            "image_0_uid": "u-0",
            "image_1_uid": "u-1",
            "label_0": label,
            "label_1": rng.choice([None, 1 - label]),
            "has_label": rng.choice([True, None]),
            "user_id": rng.choice([None, 3]),
        }
        if rng.random() < 0.5:
            column, values = rng.choice(COLUMNS)
            row[column] = rng.choice(values)
        else:
            sound.add(number)
        table.append(row)
    shape = pa.schema([("caption", pa.string()), ("jpg_0", pa.binary()), ("jpg_1", pa.binary())])
    for name in ("image_0_uid", "image_1_uid"):
        shape = shape.append(pa.field(name, pa.string()))
    for name in ("label_0", "label_1"):
        shape = shape.append(pa.field(name, pa.float64()))
    shape = shape.append(pa.field("has_label", pa.bool_())).append(pa.field("user_id", pa.int64()))
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(table, schema=shape), file, row_group_size=333)
    found = list(open_records(str(file)).rows())
    assert [row.line for row in found] == list(range(1, rows + 1))
    for each in found:
        _judged(each, each.line in sound)
        if isinstance(each, Record):
            assert each.prompt == table[each.line - 1]["caption"]
            assert each.scores[0] == table[each.line - 1]["label_0"]
    count("fuzzed rows of parquet", rows)


def test_no_byte_of_a_parquet_file_crashes_the_reader(
    tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    """The format has no checksums here: a changed byte may change a value, never the process."""
    images = {"jpg_0": [b"a", b"b"], "jpg_1": [b"c", b"d"]}
    table = pa.table({"caption": ["one", "two"], **images, "label_0": [1.0, 0.0]})
    file = tmp_path / "rows.parquet"
    pq.write_table(table, file)
    whole = file.read_bytes()
    rng = random.Random(22)
    tries = 0
    for at in range(0, len(whole), 3):
        data = bytearray(whole)
        data[at] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        with suppress(DiffprefError):
            for row in open_records(str(file)).rows():
                assert isinstance(row, Record | BadRow)
        tries += 1
    count("bit flips of a parquet file", tries)


FILES = 1000


def _write_folders(root: Path, rng: random.Random) -> dict[str, str]:
    """Write FILES pairs, half of them damaged; return the captions of the sound ones."""
    for side in ("winner", "loser"):
        (root / side).mkdir()
    sound: dict[str, str] = {}
    odd = [b"", b" \n", b"\xff\xfe", b"x" * 100_001, b"a\0b"]
    for number in range(FILES):
        stem = f"{number:04d}" + rng.choice(["", " b", "é", "#"])
        text = rng.choice(["a boat", "café", "\u202eright"])
        damage = rng.randrange(6)  # 0, 1, 2 damage something
        for side in ("winner", "loser")[: 1 if damage == 0 else 2]:
            (root / side / f"{stem}.png").write_bytes(b"not looked at here")
        if damage != 1:
            body = rng.choice(odd) if damage == 2 else text.encode()
            (root / "winner" / f"{stem}.txt").write_bytes(body)
        if damage > 2:
            sound[stem] = text
    return sound


def test_files_of_folders_sound_and_damaged_are_told_apart(
    tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    """winner/ and loser/: a side or a caption is missing, or the caption is no text."""
    sound = _write_folders(tmp_path, random.Random(23))
    found = list(open_records(str(tmp_path)).rows())
    assert len(found) == FILES
    for row in found:
        stem = (row.id if isinstance(row, Record) else row.row_id) or ""
        _judged(row, stem in sound)
        if isinstance(row, Record):
            assert (row.prompt, row.scores) == (sound[stem], (1, 0))
    count("fuzzed rows of folders", FILES)


def _same(record: Record, row: dict[str, Any]) -> None:
    assert record.prompt == row["prompt"]
    assert [image.key for image in record.images] == row["images"]
    assert list(record.scores) == row["scores"]
    assert (record.user, record.weight) == (row.get("user"), row.get("weight", 1.0))
