"""No path in a data file reaches anything outside its folder."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffpref.io.codes import BadPath, PathCode
from diffpref.io.paths import new_path, safe_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with good files, links of every kind, and secrets beside it."""
    root = tmp_path / "data"
    (root / "sub" / "deep").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", "sub/deep/c d é.png", "..png", "console.png", "12:30.png"):
        (root / name).write_bytes(b"inside")
    (tmp_path / "secret.png").write_bytes(b"outside")
    (tmp_path / "data-twin").mkdir()
    (tmp_path / "data-twin" / "a.png").write_bytes(b"outside")
    (root / "inner.png").symlink_to(root / "a.png")
    (root / "leak.png").symlink_to(tmp_path / "secret.png")
    (root / "leakdir").symlink_to(tmp_path)
    (root / "twin").symlink_to(tmp_path / "data-twin")
    (root / "loop").symlink_to(root / "loop")
    (root / "zero.png").symlink_to("/dev/zero")
    (root / "dangling").symlink_to(root / "nothing")
    os.mkfifo(root / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(root)
        server.bind("sock.png")
        os.chdir(here)
    return root


@pytest.mark.parametrize(
    "relative",
    ["a.png", "./a.png", "sub/b.png", "sub//b.png", "sub/./b.png", "sub/deep/c d é.png", "..png",
     "inner.png", "console.png", "12:30.png"],
)  # fmt: skip
def test_an_honest_path_is_opened(root: Path, relative: str) -> None:
    path = safe_path(root, relative)
    assert path.is_absolute()
    assert path.read_bytes() == b"inside"


EXPECTED = {
    "": PathCode.EMPTY,
    ".": PathCode.EMPTY,
    "./": PathCode.EMPTY,
    "/etc/passwd": PathCode.ABSOLUTE,
    "//host/share/a.png": PathCode.ABSOLUTE,
    "\\\\host\\share\\a.png": PathCode.ABSOLUTE,
    "\\a.png": PathCode.ABSOLUTE,
    "C:\\a.png": PathCode.ABSOLUTE,
    "c:a.png": PathCode.ABSOLUTE,
    "../secret.png": PathCode.PARENT,
    "sub/../a.png": PathCode.PARENT,
    "sub/..": PathCode.PARENT,
    "..": PathCode.PARENT,
    "sub\\b.png": PathCode.CHARACTER,
    "a.png\0": PathCode.CHARACTER,
    "a\n.png": PathCode.CHARACTER,
    "a\u2028.png": PathCode.CHARACTER,
    "\ud800.png": PathCode.CHARACTER,
    "http://example.org/a.png": PathCode.REMOTE,
    "file:///etc/passwd": PathCode.REMOTE,
    "data:image/png;base64,AAAA": PathCode.REMOTE,
    "s3://bucket/a.png": PathCode.REMOTE,
    "javascript:alert(1)": PathCode.REMOTE,
    "nul": PathCode.RESERVED,
    "sub/CON.png": PathCode.RESERVED,
    "com1.tar.gz": PathCode.RESERVED,
    "LPT9": PathCode.RESERVED,
    "aux .png": PathCode.RESERVED,
    "x" * 256: PathCode.TOO_LONG,
    "é" * 128: PathCode.TOO_LONG,
    "a/" * 2100 + "a.png": PathCode.TOO_LONG,
    "nothing.png": PathCode.MISSING,
    "a.png/b": PathCode.MISSING,
    "dangling": PathCode.MISSING,
    "loop": PathCode.MISSING,
    "~/a.png": PathCode.MISSING,
    "$HOME/a.png": PathCode.MISSING,
    "%2e%2e/secret.png": PathCode.MISSING,
    "\uff0e\uff0e/secret.png": PathCode.MISSING,
    "leak.png": PathCode.OUTSIDE,
    "leakdir/secret.png": PathCode.OUTSIDE,
    "leakdir/data-twin/a.png": PathCode.OUTSIDE,
    "twin/a.png": PathCode.OUTSIDE,
    "zero.png": PathCode.OUTSIDE,
    "sub": PathCode.NOT_A_FILE,
    "pipe.png": PathCode.NOT_A_FILE,
    "sock.png": PathCode.NOT_A_FILE,
}


@pytest.mark.parametrize(("relative", "code"), EXPECTED.items(), ids=lambda x: ascii(x)[:40])
def test_a_dishonest_path_is_refused_by_name(root: Path, relative: str, code: PathCode) -> None:
    with pytest.raises(BadPath) as caught:
        safe_path(root, relative)
    assert caught.value.code is code


def test_every_path_code_has_a_fixture() -> None:
    assert set(EXPECTED.values()) == set(PathCode)


def climbing() -> list[str]:
    """Return over 200 ways to say that something lies elsewhere."""
    goals = ["secret.png", "etc/passwd", "data-twin/a.png", "../data/a.png"]
    ups = ["../", "..\\", "./../", "sub/../../", ".../../", "..//", "../" * 9, "leakdir/",
           "leakdir/../", "sub/deep/../../../", "twin/../", "a.png/../../", "..;/", "%2e%2e/",
           "..%2f", "..%5c", "%252e%252e/", "\u2025/", "\uff0e\uff0e/", "..\u2215", "..\0/",
           ]  # fmt: skip
    heads = ["/", "//", "///", "\\", "\\\\?\\", "\\\\.\\", "C:/", "C:\\", "file:", "file://",
             "~/", "~root/", "/proc/self/ro" "ot/", "/dev/fd/../../", "\x00/", " /", "/./", "./",
             ]  # fmt: skip
    return [a + b for a in ups + heads for b in goals] + [
        up + head.strip("/") + goal for up in ups[:8] for head in heads[:6] for goal in goals[:2]
    ]


def test_no_crafted_path_escapes(root: Path) -> None:
    paths = climbing()
    assert len(set(paths)) >= 200
    for relative in paths:
        with pytest.raises(BadPath):
            safe_path(root, relative)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(
            st.sampled_from(
                ["..", ".", "", "sub", "leakdir", "a.png", "twin", "inner.png", "/", "\\"]
            )
        ).map("/".join),
    )
)
def test_whatever_is_opened_lies_inside(root: Path, relative: str) -> None:
    try:
        path = safe_path(root, relative)
    except BadPath:
        return
    assert path.resolve().is_relative_to(root.resolve())
    assert path.read_bytes() == b"inside"


@pytest.mark.parametrize("relative", ["new.png", "a.png", "sub/x/y.png", "'quoted' & 12%.png"])
def test_a_new_file_may_be_named_inside_the_folder(root: Path, relative: str) -> None:
    assert new_path(root, relative) == root / relative


def test_the_folder_of_a_new_file_need_not_exist(tmp_path: Path) -> None:
    assert new_path(tmp_path / "out", "a/b.png") == tmp_path / "out/a/b.png"


@pytest.mark.parametrize(
    ("relative", "code"),
    [
        ("leakdir/x.png", PathCode.OUTSIDE),
        ("leak.png", PathCode.OUTSIDE),
        ("twin/new.png", PathCode.OUTSIDE),
        ("loop/x.png", PathCode.OUTSIDE),
        ("../data-twin/a.png", PathCode.PARENT),
        ("/etc/x", PathCode.ABSOLUTE),
        (".", PathCode.EMPTY),
        ("a\nb.png", PathCode.CHARACTER),
        ("nul.png", PathCode.RESERVED),
        ("x" * 256, PathCode.TOO_LONG),
    ],
)
def test_a_new_file_cannot_be_named_outside(root: Path, relative: str, code: PathCode) -> None:
    with pytest.raises(BadPath) as caught:
        new_path(root, relative)
    assert caught.value.code == code
