"""Prompt files."""

from pathlib import Path

import pytest

from diffpref.errors import DataError
from diffpref.evaluate.prompts import read_prompts


def test_a_text_file_has_a_prompt_per_line(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes("\ufeffone red circle\r\n\n  zwei Kreise \nthree".encode())
    assert read_prompts(str(path)) == ["one red circle", "zwei Kreise", "three"]
    assert read_prompts(str(path), limit=2) == ["one red circle", "zwei Kreise"]


def test_a_jsonl_file_has_a_prompt_per_object(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a", "id": 1}\n\n{"prompt": " b "}\n{broken')
    assert read_prompts(str(path), limit=2) == ["a", "b"]
    with pytest.raises(DataError) as caught:
        read_prompts(str(path))
    assert caught.value.where == "p.jsonl:4"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"", "holds no prompts"),
        ("p.txt", b"ok\n\xff\xfe", "byte 0 is not UTF-8"),
        ("p.txt", b"a\0b", "holds a NUL"),
        ("p.jsonl", b'{"text": "a"}', "no text in `prompt`"),
        ("p.jsonl", b'{"prompt": "  "}', "no text in `prompt`"),
    ],
)
def test_what_is_no_prompt_is_named_by_line(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_prompts(str(tmp_path / name))
    assert message in str(caught.value)
    assert caught.value.hint


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError, match="no such file of prompts"):
        read_prompts("nowhere.txt")
