"""Images of every kind in a row: seen as a person saw them, or named as bad."""

from pathlib import Path

import pytest
from PIL import Image

from diffpref.data.filters import Filters
from diffpref.data.plan import CacheSettings, make_cutting
from diffpref.data.prepare import Bad, Dropped, Prepared, prepare_rows
from diffpref.data.readers import open_records
from diffpref.data.records import RowCode
from diffpref.io import ImageCode
from tests.data.makers import encoded, picture, png, write_lines

CUTTING = make_cutting(CacheSettings(buckets=False), 32, 2)


def outcome(folder: Path, data: bytes, filters: Filters | None = None) -> object:
    """What becomes of a row of this image and a plain one."""
    (folder / "odd.png").write_bytes(data)
    (folder / "plain.png").write_bytes(png(99))
    row = {"prompt": "p", "images": ["odd.png", "plain.png"], "scores": [1, 0]}
    source = open_records(str(write_lines(folder / "rows.jsonl", [row])))
    (result,) = prepare_rows(source, filters or Filters(), CUTTING)
    return result


def colours(folder: Path, data: bytes) -> Image.Image:
    result = outcome(folder, data)
    assert isinstance(result, Prepared)
    return result.cuts[0].image


def test_a_turned_photograph_is_upright(tmp_path: Path) -> None:
    lying = picture(1, 64, 32)
    exif = Image.Exif()
    exif[0x0112] = 6
    result = outcome(tmp_path, encoded(lying, "JPEG", exif=exif, quality=95))
    assert isinstance(result, Prepared)
    assert result.cuts[0].geometry.original == (64, 32)


def test_transparency_is_seen_on_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (32, 32), (10, 20, 30, 0))
    assert colours(tmp_path, encoded(clear)).getpixel((5, 5)) == (255, 255, 255)


def test_sixteen_bits_keep_their_brightness(tmp_path: Path) -> None:
    grey = Image.new("I;16", (32, 32), 32768)
    assert colours(tmp_path, encoded(grey)).getpixel((5, 5)) == (128, 128, 128)


def test_palettes_and_cmyk_become_colours(tmp_path: Path) -> None:
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    assert colours(tmp_path, encoded(red.convert("P"))).getpixel((5, 5)) == (255, 0, 0)
    cmyk = colours(tmp_path, encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG"))
    found = cmyk.getpixel((5, 5))
    assert isinstance(found, tuple)
    assert all(abs(a - b) <= 4 for a, b in zip(found, (255, 0, 0), strict=True))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encoded(picture(1), "JPEG")[:-60], ImageCode.TRUNCATED),
        (b"this is no picture", ImageCode.FORMAT),
        (encoded(picture(1), "BMP"), ImageCode.FORMAT),
        (b"", ImageCode.EMPTY),
    ],
)
def test_an_image_that_cannot_be_used_names_its_place_and_reason(
    tmp_path: Path, data: bytes, code: str
) -> None:
    result = outcome(tmp_path, data)
    assert isinstance(result, Bad)
    assert (result.row.code, result.row.column) == (code, "images[0]")
    assert (result.row.file, result.row.line) == ("rows.jsonl", 1)


def test_two_files_with_the_same_pixels_are_a_self_pair(tmp_path: Path) -> None:
    result = outcome(tmp_path, encoded(picture(99), "WEBP", lossless=True))
    assert isinstance(result, Bad)
    assert result.row.code == RowCode.SELF_PAIR


def test_a_small_image_is_dropped_by_name_not_bad(tmp_path: Path) -> None:
    result = outcome(tmp_path, png(1, 16, 80), Filters(min_side=17))
    assert isinstance(result, Dropped)
    assert result.reason == "below min_side"
