"""CSV comes in whole or is refused with its line."""

from pathlib import Path

import pytest

from diffpref.io import BadText, TextCode
from diffpref.io.table import read_csv


def test_cells_come_with_their_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    text = '\ufefffile,prompt\r\na.png,"red, ""big""\ncircle"\r\n\r\nb.png,line\u2028end\x0bing\n'
    file.write_bytes(text.encode())
    assert list(read_csv(file)) == [
        (3, {"file": "a.png", "prompt": 'red, "big"\ncircle'}),
        (5, {"file": "b.png", "prompt": "line\u2028end\x0bing"}),
    ]
    file.write_bytes(b"")
    assert list(read_csv(file)) == []


@pytest.mark.parametrize(
    ("data", "code", "line"),
    [
        (b"a,b\n1\n", TextCode.TABLE, ":2"),
        (b"a,b\n1,2,3\n", TextCode.TABLE, ":2"),
        (b'a,b\n1,"2\n', TextCode.TABLE, ":2"),
        (b"a,b\n1,\0\n", TextCode.TABLE, ""),
        (b"a,a\n1,2\n", TextCode.DUPLICATE_KEY, ":1"),
        (b"a,b\n1,\xff\n", TextCode.NOT_UTF8, ""),
    ],
)
def test_a_damaged_table_is_refused(data: bytes, code: TextCode, line: str, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(data)
    with pytest.raises(BadText) as caught:
        list(read_csv(file))
    assert caught.value.code == code
    assert caught.value.where == f"{file}{line}"


def test_a_table_has_a_ceiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b"a\n1\n")
    monkeypatch.setattr("diffpref.io.table.MAX_TABLE", 3)
    with pytest.raises(BadText, match="longer than 3 bytes"):
        list(read_csv(file))
