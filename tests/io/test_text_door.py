"""JSON that Python would let through, YAML that could run code, and every bad line by name."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffpref.errors import ConfigError, UnsafeFileError
from diffpref.io.codes import BadLine, BadText, ImageCode, PathCode, TextCode
from diffpref.io.text import MAX_DEPTH, MAX_LINE, parse_json, read_json, read_jsonl
from diffpref.io.yaml_text import load_yaml, load_yaml_lines

REFUSED: list[tuple[bytes, TextCode]] = [
    (b'{"a": 1, "a": 1}', TextCode.DUPLICATE_KEY),
    (b'{"a": {"b": [{"c": 1, "c": 2}]}}', TextCode.DUPLICATE_KEY),
    (b'{"a": 1, "\\u0061": 2}', TextCode.DUPLICATE_KEY),
    (b'{"a": NaN}', TextCode.NON_FINITE),
    (b'{"a": -Infinity}', TextCode.NON_FINITE),
    (b'{"a": 1e999}', TextCode.NON_FINITE),
    (b'{"a": -1.0e400}', TextCode.NON_FINITE),
    (b'{"a": ' + b"9" * 5000 + b"}", TextCode.NUMBER),
    (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", TextCode.TOO_DEEP),
    (b"[" * 100_000, TextCode.TOO_DEEP),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, TextCode.TOO_DEEP),
    (b'{"a": "\\ud800"}', TextCode.SURROGATE),
    (b'{"\\udfff": 1}', TextCode.SURROGATE),
    (b'{"a": "\xff"}', TextCode.NOT_UTF8),
    (b'{"a": "\xed\xa0\x80"}', TextCode.NOT_UTF8),
    (b'{"a": "\xc0\xaf"}', TextCode.NOT_UTF8),
    (b'{"a": 1', TextCode.NOT_JSON),
    (b'{"a": 1} {"b": 2}', TextCode.NOT_JSON),
    (b'{"a": 1},', TextCode.NOT_JSON),
    (b"{'a': 1}", TextCode.NOT_JSON),
    (b'{"a": 01}', TextCode.NOT_JSON),
    (b'{"a": "\x01"}', TextCode.NOT_JSON),
    (b'\xef\xbb\xbf{"a": 1}', TextCode.NOT_JSON),
    (b"\x00", TextCode.NOT_JSON),
    (b"[1]", TextCode.NOT_OBJECT),
    (b'"text"', TextCode.NOT_OBJECT),
    (b"null", TextCode.NOT_OBJECT),
    (b'{"a": "' + b"x" * MAX_LINE + b'"}', TextCode.TOO_LONG),
]
ACCEPTED: list[tuple[bytes, dict[str, object]]] = [
    (b'{"a": 1}\r', {"a": 1}),
    (b'  {"a": 1e308}  ', {"a": 1e308}),
    ('{"a": "x\u2028y\u2029\u0085z"}'.encode(), {"a": "x\u2028y\u2029\u0085z"}),
    (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    (b'{"a": ' + b"9" * 300 + b"}", {"a": int("9" * 300)}),
    (b'{"a": ' + b"[" * 31 + b"]" * 31 + b"}", {"a": json.loads("[" * 31 + "]" * 31)}),
    (b'{"": null, "b": [true, false]}', {"": None, "b": [True, False]}),
    (b'{"a": "\\u0000"}', {"a": "\x00"}),
]


@pytest.mark.parametrize(("line", "code"), REFUSED, ids=lambda x: str(x)[:40])
def test_a_bad_line_is_named_and_the_next_one_is_read(
    tmp_path: Path, line: bytes, code: TextCode
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"ok": 1}\n' + line + b'\n{"ok": 2}\n')
    rows = list(read_jsonl(file))
    assert rows[0] == (1, {"ok": 1})
    assert rows[2] == (3, {"ok": 2})
    number, bad = rows[1]
    assert number == 2
    assert isinstance(bad, BadLine)
    assert (bad.code, bad.line, bad.where) == (code, 2, f"{file}:2")
    assert bad.reason


@pytest.mark.parametrize(("line", "value"), ACCEPTED, ids=lambda x: str(x)[:40])
def test_an_unusual_line_is_read_as_it_is(
    tmp_path: Path, line: bytes, value: dict[str, object]
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(line + b"\n" + line)
    assert list(read_jsonl(file)) == [(1, value), (2, value)]


def test_every_code_has_a_meaning_and_every_text_code_a_fixture() -> None:
    assert {code for _, code in REFUSED} == set(TextCode) - {TextCode.TABLE}  # of CSV
    for codes in (ImageCode, TextCode, PathCode):
        assert all(len(code.meaning) > 10 for code in codes)
        assert (
            len({code.meaning for code in codes} - {"there is no file at this path"})
            >= len(codes) - 1
        )


def test_blank_lines_count_but_are_not_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n  \r\n{"a": 2}\n')
    assert list(read_jsonl(file)) == [(1, {"a": 1}), (4, {"a": 2})]
    file.write_bytes(b"")
    assert list(read_jsonl(file)) == []


def test_a_byte_order_mark_is_accepted_at_the_start_only(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\xef\xbb\xbf{"a": 2}\n')
    rows = list(read_jsonl(file))
    assert rows[0] == (1, {"a": 1})
    assert isinstance(rows[1][1], BadLine)


@pytest.mark.parametrize("size", [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, MAX_LINE + 2, 3 * MAX_LINE])
def test_the_length_ceiling_is_exact_and_keeps_the_count(tmp_path: Path, size: int) -> None:
    file = tmp_path / "rows.jsonl"
    head, tail = b'{"a": "', b'"}'
    line = head + b"x" * (size - len(head) - len(tail)) + tail
    file.write_bytes(line + b'\n{"b": 1}\n')
    rows = list(read_jsonl(file))
    assert isinstance(rows[0][1], BadLine) == (size > MAX_LINE)
    assert rows[1] == (2, {"b": 1})


def _good(rng: random.Random) -> bytes:
    value = {
        "prompt": "".join(rng.choice('aé\u2028"\\ \U0001f600') for _ in range(rng.randrange(12))),
        "images": [f"{rng.randrange(99)}.png" for _ in range(rng.randrange(4))],
        "scores": [rng.choice([0, 1, 0.5, rng.random(), -3e5])],
        "nested": {"x": [None, True, {"y": rng.randrange(10**12)}]},
    }
    return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()


def _bad(rng: random.Random) -> bytes:
    good = _good(rng)
    ways: list[Callable[[], bytes]] = [
        lambda: good[:-1] + b',"prompt":"again"}',
        lambda: good[:-1] + b',"z":NaN}',
        lambda: good[:-1] + b',"z":-1e%d}' % rng.randrange(309, 10**6),
        lambda: good[:-1] + b',"z":"\\ud8%02x"}' % rng.randrange(256),
        lambda: (
            good[:-1] + b',"z":' + b"[" * (n := rng.randrange(MAX_DEPTH, 9000)) + b"]" * n + b"}"
        ),
        lambda: good[:-1] + b',"z":' + b"1" * rng.randrange(401, 9000) + b"}",
        lambda: good[:-1] + b',"z":"' + bytes([rng.choice((0xFF, 0xC0, 0x80))]) + b'"}',
        lambda: good[: rng.randrange(1, len(good))],
        lambda: b"[" + good + b"]",
        lambda: good + good,
    ]
    return rng.choice(ways)()


def fuzz(file: Path, rows: int) -> None:
    rng = random.Random(20)
    plan = [rng.random() < 0.5 for _ in range(rows)]
    lines = [_good(rng) if good else _bad(rng) for good in plan]
    file.write_bytes(b"".join(line + rng.choice((b"\n", b"\r\n")) for line in lines))
    read = list(read_jsonl(file))
    assert [number for number, _ in read] == list(range(1, rows + 1))
    for good, line, (_, row) in zip(plan, lines, read, strict=True):
        assert isinstance(row, BadLine) != good, line[:200]
        if good:
            assert row == json.loads(line)


def test_two_thousand_fuzzed_rows_are_told_apart_without_error(tmp_path: Path) -> None:
    fuzz(tmp_path / "rows.jsonl", 2000)


@pytest.mark.slow
def test_ten_thousand_fuzzed_rows_are_told_apart_without_error(tmp_path: Path) -> None:
    fuzz(tmp_path / "rows.jsonl", 10_000)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_value_or_a_coded_refusal(data: bytes) -> None:
    with suppress(BadText):
        json.dumps(parse_json(data), allow_nan=False, ensure_ascii=False).encode("utf-8")


def test_a_document_has_a_ceiling(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 2]}')
    assert read_json(tmp_path / "a.json") == {"a": [1, 2]}
    with pytest.raises(BadText) as caught:
        read_json(tmp_path / "a.json", max_bytes=12)
    assert caught.value.code is TextCode.TOO_LONG


def test_the_text_door_imports_nothing_heavy() -> None:
    code = (
        "import sys, diffpref.io, diffpref.io.text, diffpref.io.yaml_text\n"
        "print([m for m in ('torch', 'numpy', 'PIL', 'yaml', 'safetensors') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


YAML = """\
method: dpo
loop:
  lr: 1e-5
  steps: 2_000
  when: 2026-11-21
data:
  sources:
    - path: a.jsonl
    - {path: b.jsonl, weight: 2}
"""


def test_yaml_is_read_with_the_line_of_every_key(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(YAML, encoding="utf-8-sig")
    value, lines = load_yaml_lines(file)
    assert value == {
        "method": "dpo",
        "loop": {"lr": 1e-5, "steps": 2000, "when": "2026-11-21"},
        "data": {"sources": [{"path": "a.jsonl"}, {"path": "b.jsonl", "weight": 2}]},
    }
    assert lines["method"] == 1
    assert lines["loop.steps"] == 4
    assert lines["data.sources.1.weight"] == 9
    assert load_yaml(YAML) == value
    assert load_yaml("") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1e-5", 1e-5),
        ("a: -2E6", -2e6),
        ("a: 1.5e3", 1500.0),
        ("a: '1e-5'", "1e-5"),
        ("a: e5", "e5"),
        ("a: none", "none"),
        ("a: ~", None),
        ("a: &x [1, 2]", [1, 2]),
    ],
)
def test_yaml_scalars_mean_what_people_mean(text: str, value: object) -> None:
    assert load_yaml(text) == {"a": value}


def test_yaml_aliases_are_values() -> None:
    assert load_yaml("a: &x [1]\nb: *x") == {"a": [1], "b": [1]}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 9) + "]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "run.yaml:4", "'c' appears twice"),
        ("a: 1\n'a': 2\n", "run.yaml:2", "'a' appears twice"),
        ("a: [1, {b: 1, b: 2}]", "run.yaml:1", "'b' appears twice"),
        ("a: 1\nyes: 2\n", "run.yaml:2", "not text"),
        ("a: 1\n3: 2\n", "run.yaml:2", "not text"),
        ("? [a]\n: 1\n", "run.yaml:1", "not text"),
        ("base: &b {x: 1}\nuse:\n  <<: *b\n", "run.yaml:3", "merge keys"),
        ("a: !env HOME", "run.yaml:1", "!env is not plain data"),
        ("a: !!binary aGk=", "run.yaml:1", "!!binary"),
        ("a: !!set {x}", "run.yaml:1", "!!set"),
        ("a: [1\nb: 2\n", "run.yaml:2", "not valid YAML"),
        ("a: 1\n\tb: 2\n", "run.yaml:2", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "run.yaml:2", "not valid YAML"),
        ("a: *nothing", "run.yaml:1", "not valid YAML"),
        ("a: \x01", "run.yaml", "not valid YAML"),
        ("a: !!int x", "run.yaml", "not valid YAML"),
        ("&a [*a]", "run.yaml:1", "levels"),
        (BOMB, "run.yaml", "more than 20000 values"),
        ("[" * 40 + "]" * 40, "run.yaml:1", "32 levels"),
        ("[" * 1500, "run.yaml", "nested deeper"),
        ("a: " + "x" * 2**18, "run.yaml", "ceiling"),
        ("a: \ud800", "run.yaml", "UTF-8"),
    ],
    ids=lambda x: str(x)[:20],
)
def test_a_bad_yaml_is_refused_with_its_line(text: str, where: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_yaml(text, "run.yaml")
    assert str(caught.value.where).startswith(where)


def test_a_missing_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read"):
        load_yaml(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.mkdir [CANARY]",
        "!!python/object/new:os.mkdir [CANARY]",
        "!!python/name:os.mkdir ''",
        "!!python/module:os ''",
        "!<tag:yaml.org,2002:python/object/apply:os.mkdir> [CANARY]",
    ],
)
def test_yaml_runs_no_code(tmp_path: Path, tag: str) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(UnsafeFileError) as caught:
        load_yaml("a: " + tag.replace("CANARY", str(canary)))
    assert caught.value.exit_code == 6
    assert not os.path.exists(canary)
