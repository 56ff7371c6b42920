"""Thousands of damaged rows: every one is named, every sound one is kept, nothing crashes."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffpref.data.readers import open_records
from diffpref.data.records import BadRow, Record, RowCode
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


def test_two_thousand_rows_sound_and_damaged(tmp_path: Path) -> None:
    rng = random.Random(20)
    for seed, name in enumerate("abcd"):
        (tmp_path / f"{name}.png").write_bytes(png(seed))
    lines: list[bytes] = []
    sound: dict[int, dict[str, Any]] = {}
    for number in range(1, 2001):
        row = _sound(rng, number)
        if rng.random() < 0.5:
            sound[number] = row
            lines.append(json.dumps(row, ensure_ascii=rng.random() < 0.5).encode())
        else:
            damaged = rng.choice(DAMAGES)(rng, row)
            lines.append(damaged if isinstance(damaged, bytes) else json.dumps(damaged).encode())
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    rows = list(open_records(str(tmp_path / "rows.jsonl")).rows())
    assert [row.line for row in rows] == list(range(1, 2001))
    for row in rows:
        if isinstance(row, BadRow):
            assert row.line not in sound, row
            assert row.code in CODES
            assert row.reason
            json.dumps(row.plain(), ensure_ascii=False).encode()
        else:
            _same(row, sound[row.line])


def _same(record: Record, row: dict[str, Any]) -> None:
    assert record.prompt == row["prompt"]
    assert [image.key for image in record.images] == row["images"]
    assert list(record.scores) == row["scores"]
    assert (record.user, record.weight) == (row.get("user"), row.get("weight", 1.0))
