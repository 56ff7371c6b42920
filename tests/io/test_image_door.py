"""An image is what a person saw, pixel for pixel, or it is refused by name."""

import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from diffpref.io.codes import BadImage, ImageCode
from diffpref.io.images import is_flat, open_image, rgb_image
from diffpref.io.png import png_bytes, png_text

Pixels = np.ndarray
WIDTH, HEIGHT = 5, 3


def picture() -> Pixels:
    """Return 3x5 RGB pixels without any symmetry."""
    return np.random.default_rng(7).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


RGB = picture()
ALPHA = np.random.default_rng(8).integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)
GREY = RGB[..., 0]


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def png(pixels: Pixels) -> bytes:
    return encode(Image.fromarray(pixels))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(header: tuple[int, int, int, int], rows: bytes, *extra: bytes) -> bytes:
    """Write a PNG by hand: (width, height, bits, colour type), filtered rows, extra chunks."""
    width, height, bits, colour = header
    ihdr = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", ihdr) + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def png16(values: Pixels, *extra: bytes) -> bytes:
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return raw_png((values.shape[1], values.shape[0], 16, colour), rows, *extra)


def over(colour: Pixels, alpha: Pixels, below: tuple[int, int, int]) -> Pixels:
    share = alpha.astype(float) / 255
    return np.rint(colour * share + np.array(below) * (1 - share)).astype(np.uint8)


def grey(values: Pixels) -> Pixels:
    return np.repeat(values[..., None], 3, axis=2)


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(Image.fromarray(RGB), exif=exif.tobytes())


TURNED = {
    1: RGB,
    2: RGB[:, ::-1],
    3: RGB[::-1, ::-1],
    4: RGB[::-1],
    5: RGB.transpose(1, 0, 2),
    6: np.rot90(RGB, -1),
    7: RGB[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(RGB, 1),
}
WIDE = np.random.default_rng(9).integers(0, 65536, (HEIGHT, WIDTH, 4))
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 8, 7)]


def indexed(transparency: bytes | int | None = None) -> bytes:
    image = Image.new("P", (WIDTH, HEIGHT))
    image.putpalette([value for colour in COLOURS for value in colour])
    image.putdata([int(value) for value in (GREY % 4).ravel()])
    return encode(image, **({} if transparency is None else {"transparency": transparency}))


LOOKED_UP = np.array(COLOURS, dtype=np.uint8)[GREY % 4]
CMYK = np.dstack([RGB, ALPHA])
CMYK_RGB = np.rint((255.0 - RGB) * (255.0 - ALPHA) / 255).astype(np.uint8)
RGBA = Image.fromarray(np.dstack([RGB, ALPHA]))
BILEVEL = np.where(GREY > 127, 255, 0).astype(np.uint8)
BELOW = (255, 255, 255)
FLAT = np.full((16, 16, 3), (200, 30, 60), dtype=np.uint8)


def jpeg(image: Image.Image) -> bytes:
    return encode(image, "JPEG", quality=100, subsampling=0)


def mpo() -> bytes:
    second = Image.fromarray(255 - FLAT)
    return encode(Image.fromarray(FLAT), "MPO", save_all=True, append_images=[second], quality=100)


def animated(kind: str) -> bytes:
    frames = [Image.fromarray(FLAT), Image.fromarray(255 - FLAT)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


PROGRESSIVE = encode(Image.fromarray(FLAT), "JPEG", progressive=True, quality=100)
CLEAR = chunk(b"tRNS", struct.pack(">H", WIDE[1, 1, 0]))
NARROW = np.rint(WIDE[..., 0] / 257)
WIDE_CLEARED = grey(np.where(WIDE[1, 1, 0] == WIDE[..., 0], 255, NARROW).astype(np.uint8))
FLOATS = Image.fromarray(RGB[..., 0].astype(np.float32))

# name, file, expected pixels, tolerance
GOOD: list[tuple[str, bytes, Pixels, int]] = [
    ("rgb png", png(RGB), RGB, 0),
    ("rgb lossless webp", encode(Image.fromarray(RGB), "WEBP", lossless=True), RGB, 0),
    ("rgb jpeg", jpeg(Image.fromarray(FLAT)), FLAT, 2),
    ("progressive jpeg", PROGRESSIVE, FLAT, 2),
    ("lossy webp", encode(Image.fromarray(FLAT), "WEBP", quality=100), FLAT, 6),
    ("grey png", png(GREY), grey(GREY), 0),
    ("grey jpeg", jpeg(Image.fromarray(FLAT[..., 0])), grey(FLAT[..., 0]), 1),
    ("one-bit png", encode(Image.fromarray(BILEVEL).convert("1")), grey(BILEVEL), 0),
    ("rgba png", encode(RGBA), over(RGB, ALPHA, BELOW), 1),
    ("rgba webp", encode(RGBA, "WEBP", lossless=True, exact=True), over(RGB, ALPHA, BELOW), 1),
    ("grey-alpha png", png(np.dstack([GREY, ALPHA])),
     over(grey(GREY), ALPHA, BELOW), 1),
    ("fully transparent", png(np.dstack([RGB, ALPHA * 0])), grey(GREY * 0 + 255), 0),
    ("transparent colour", encode(Image.fromarray(RGB), transparency=tuple(map(int, RGB[1, 2]))),
     np.where((RGB[1, 2] == RGB).all(axis=2, keepdims=True), 255, RGB).astype(np.uint8), 0),
    ("transparent grey", encode(Image.fromarray(GREY), transparency=int(GREY[0, 1])),
     grey(np.where(GREY[0, 1] == GREY, 255, GREY).astype(np.uint8)), 0),
    ("palette", indexed(), LOOKED_UP, 0),
    ("palette, one clear colour", indexed(2),
     np.where((GREY % 4 == 2)[..., None], 255, LOOKED_UP).astype(np.uint8), 0),
    ("palette, alpha table", indexed(bytes([255, 0, 128, 255])),
     over(LOOKED_UP, np.array([255, 0, 128, 255], dtype=np.uint8)[GREY % 4][..., None], BELOW), 1),
    ("16-bit grey", png16(WIDE[..., :1]), grey(np.rint(WIDE[..., 0] / 257).astype(np.uint8)), 0),
    ("16-bit grey, clear value", png16(WIDE[..., :1], CLEAR), WIDE_CLEARED, 0),
    ("16-bit rgb", png16(WIDE[..., :3]), np.rint(WIDE[..., :3] / 257).astype(np.uint8), 1),
    ("16-bit rgba", png16(WIDE), over(WIDE[..., :3] / 257, WIDE[..., 3:] / 257, BELOW), 2),
    ("16-bit grey-alpha", png16(WIDE[..., [0, 3]]),
     over(np.repeat(WIDE[..., :1], 3, axis=2) / 257, WIDE[..., 3:] / 257, BELOW), 2),
    *[(f"orientation {k}", oriented(k), TURNED[k], 0) for k in TURNED],
    ("orientation 9 means nothing", oriented(9), RGB, 0),
    ("two pictures in a jpeg", mpo(), FLAT, 2),
    ("bytes after the end", png(RGB) + b"trailing", RGB, 0),
    ("text chunk", png_bytes(Image.fromarray(RGB), {"prompt": "a"}), RGB, 0),
]  # fmt: skip


def cmyk_jpeg() -> bytes:
    return encode(
        Image.new("CMYK", (16, 16), (10, 60, 200, 40)), "JPEG", quality=100, subsampling=0
    )


@pytest.mark.parametrize(
    ("data", "pixels", "off"), [row[1:] for row in GOOD], ids=[r[0] for r in GOOD]
)
def test_an_image_means_what_was_seen(
    tmp_path: Path, data: bytes, pixels: Pixels, off: int
) -> None:
    (tmp_path / "wrong.gif").write_bytes(data)
    for source in (data, tmp_path / "wrong.gif", str(tmp_path / "wrong.gif")):
        image = open_image(source, where="row 1")
        assert (image.mode, image.info, dict(image.getexif())) == ("RGB", {}, {})
        found = np.asarray(image)
        assert found.shape == pixels.shape
        assert np.abs(found.astype(int) - pixels).max() <= off


def test_cmyk_is_converted_by_the_stated_formula() -> None:
    wanted = np.array([(255 - 10) * 215 / 255, (255 - 60) * 215 / 255, (255 - 200) * 215 / 255])
    found = np.asarray(open_image(cmyk_jpeg(), where="x"))
    assert np.abs(found - wanted).max() <= 2
    exact = rgb_image(_cmyk())
    assert np.abs(np.asarray(exact).astype(int) - CMYK_RGB).max() <= 1


def _cmyk() -> Image.Image:
    return Image.merge("CMYK", [Image.fromarray(CMYK[..., i]) for i in range(4)])


def test_the_background_is_the_one_asked_for() -> None:
    found = np.asarray(open_image(encode(RGBA), where="x", background=(0, 128, 255)))
    assert np.abs(found.astype(int) - over(RGB, ALPHA, (0, 128, 255))).max() <= 1


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0"]
)
def test_unreadable_exif_is_no_orientation(exif: bytes) -> None:
    data = encode(Image.fromarray(FLAT), "JPEG", exif=exif, quality=100)
    assert np.abs(np.asarray(open_image(data, where="x")).astype(int) - FLAT).max() <= 2


def test_images_in_memory_follow_the_same_rules() -> None:
    unit = np.linspace(0, 1, 15, dtype=np.float32).reshape(3, 5)
    assert np.array_equal(np.asarray(rgb_image(Image.fromarray(unit)))[..., 0], np.rint(unit * 255))
    wide = Image.fromarray(np.array([[0, 257, 65535]], dtype=np.int32))
    assert np.asarray(rgb_image(wide))[0, :, 0].tolist() == [0, 1, 255]
    for wrong in (1.01, -0.1, float("nan"), float("inf")):
        values = unit.copy()
        values[1, 2] = wrong
        with pytest.raises(BadImage) as caught:
            rgb_image(Image.fromarray(values))
        assert caught.value.code is ImageCode.RANGE
    with pytest.raises(BadImage):
        rgb_image(Image.fromarray(np.array([[65536]], dtype=np.int32)))


def test_one_colour_is_recognised() -> None:
    assert is_flat(Image.new("RGB", (3, 3), (1, 2, 3)))
    assert not is_flat(Image.fromarray(RGB))


def header_only(width: int, height: int, kind: str) -> bytes:
    """Return a file of this format that declares a size and holds next to nothing."""
    if kind == "PNG":
        return raw_png((width, height, 8, 2), b"")
    if kind == "JPEG":
        frame = struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 17, 0, 2, 17, 1, 3, 17, 1])
        return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"
    if kind == "VP8L":
        bits = (width - 1) | (height - 1) << 14
        body = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", bits) + b"\0" * 5
    else:
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def real_bomb(side: int) -> bytes:
    """Return a valid PNG of one colour: kilobytes on disk, hundreds of megabytes decoded."""
    row = b"\0" * (1 + 3 * side)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    ihdr = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


BOMBS = [
    (header_only(w, h, kind), code)
    for kind in ("PNG", "JPEG", "VP8L", "VP8X")
    for w, h, code in (
        (16_000, 16_000, ImageCode.TOO_MANY_PIXELS),
        (8193, 8192, ImageCode.TOO_MANY_PIXELS),
        (16_384, 4097, ImageCode.TOO_MANY_PIXELS),
    )
] + [
    (header_only(2**31 - 1, 2**31 - 1, "PNG"), ImageCode.TOO_MANY_PIXELS),
    (header_only(65_535, 1, "JPEG"), ImageCode.TOO_LARGE),
    (header_only(1, 16_385, "VP8X"), ImageCode.TOO_LARGE),
    (real_bomb(9000), ImageCode.TOO_MANY_PIXELS),
]


@pytest.mark.parametrize(("data", "code"), BOMBS)
def test_a_bomb_is_refused_before_it_is_decoded(data: bytes, code: ImageCode) -> None:
    tracemalloc.start()
    try:
        start = time.thread_time()
        with pytest.raises(BadImage) as caught:
            open_image(data, where="x")
        spent, peak = time.thread_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code is code
    assert spent < 0.05
    assert peak < 20e6


def test_a_large_picture_below_the_ceiling_is_opened() -> None:
    assert open_image(real_bomb(700), where="x", max_pixels=490_000).size == (700, 700)
    with pytest.raises(BadImage):
        open_image(real_bomb(700), where="x", max_pixels=489_999)


PNG, JPEG, WEBP = png(RGB), jpeg(Image.fromarray(RGB)), GOOD[1][1]
GIF_HEAD = encode(Image.fromarray(GREY), "GIF")


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def riff(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


BAD: list[tuple[str, bytes, ImageCode]] = [
    ("empty", b"", ImageCode.EMPTY),
    ("gif", GIF_HEAD, ImageCode.FORMAT),
    ("tiff", encode(Image.fromarray(RGB), "TIFF"), ImageCode.FORMAT),
    ("float tiff", encode(FLOATS, "TIFF"), ImageCode.FORMAT),
    ("bmp", encode(Image.fromarray(RGB), "BMP"), ImageCode.FORMAT),
    ("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ImageCode.FORMAT),
    ("fits", b"SIMPLE  =                    T", ImageCode.FORMAT),
    ("html", b"<html>404</html>", ImageCode.FORMAT),
    ("pickle", b"\x80\x04K\x01.", ImageCode.FORMAT),
    ("noise", bytes(range(256)), ImageCode.FORMAT),
    ("one byte", b"\xff", ImageCode.FORMAT),
    ("animated png", animated("PNG"), ImageCode.ANIMATED),
    ("animated webp", animated("WEBP"), ImageCode.ANIMATED),
    ("no width", raw_png((0, 4, 8, 2), b""), ImageCode.TOO_SMALL),
    ("png without pixels", raw_png((4, 4, 8, 2), b""), ImageCode.TRUNCATED),
    ("png with a wrong checksum", flipped(PNG, 45), ImageCode.BROKEN),
    ("png with a flipped pixel", flipped(PNG, PNG.index(b"IDAT") + 12), ImageCode.BROKEN),
    ("png without header", PNG[:8] + PNG[33:], ImageCode.BROKEN),
    ("png of an unknown colour type", raw_png((4, 4, 8, 5), b"\0" * 99), ImageCode.BROKEN),
    ("png cut by one byte", PNG[:-1], ImageCode.TRUNCATED),
    ("png without its last chunk", PNG[:-12], ImageCode.TRUNCATED),
    ("png cut in half", PNG[: len(PNG) // 2], ImageCode.TRUNCATED),
    ("png cut to its name", PNG[:8], ImageCode.TRUNCATED),
    ("jpeg cut by two bytes", JPEG[:-2], ImageCode.TRUNCATED),
    ("jpeg cut in half", jpeg(Image.fromarray(FLAT))[:-200], ImageCode.TRUNCATED),
    ("jpeg cut in its header", JPEG[:30], ImageCode.TRUNCATED),
    ("jpeg without frame", b"\xff\xd8\xff\xda" + JPEG[4:], ImageCode.BROKEN),
    ("jpeg without markers", b"\xff\xd8\xff\xe0\0\x02" + b"x" * 99, ImageCode.BROKEN),
    ("jpeg with a frame only", header_only(8, 8, "JPEG"), ImageCode.BROKEN),
    ("webp cut by one byte", WEBP[:-1], ImageCode.TRUNCATED),
    ("webp cut in half", WEBP[: len(WEBP) // 2], ImageCode.TRUNCATED),
    ("webp of an unknown kind", riff(b"VP9 " + b"\0" * 40), ImageCode.BROKEN),
    ("webp with a header only", header_only(8, 8, "VP8X"), ImageCode.BROKEN),
]  # fmt: skip


@pytest.mark.parametrize(("data", "code"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_damaged_or_foreign_file_is_refused_by_name(data: bytes, code: ImageCode) -> None:
    with pytest.raises(BadImage, match=r"^set\.jsonl:3: ") as caught:
        open_image(data, where="set.jsonl:3")
    assert caught.value.code is code
    assert caught.value.reason


@pytest.mark.parametrize(
    "data", [PNG, WEBP, jpeg(Image.fromarray(FLAT))], ids=["png", "webp", "jpeg"]
)
def test_every_truncation_is_refused(data: bytes) -> None:
    for cut in range(1, len(data), 7):
        with pytest.raises(BadImage):
            open_image(data[:-cut], where="x")


def test_no_flip_of_a_png_changes_a_pixel_silently() -> None:
    """JPEG and WEBP carry no checksums, so only PNG can promise this."""
    for at in range(len(PNG)):
        try:
            image = open_image(flipped(PNG, at), where="x")
        except BadImage:
            continue
        assert np.array_equal(np.asarray(image), RGB)


def test_paths_that_are_no_pictures_are_refused_by_name(tmp_path: Path) -> None:
    found: dict[str, ImageCode] = {}
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "huge.png").touch()
    with (tmp_path / "huge.png").open("r+b") as file:
        file.truncate(2**28 + 1)
    for name in ("nothing.png", "folder.png", "huge.png", "a" * 300):
        with pytest.raises(BadImage) as caught:
            open_image(tmp_path / name, where="x")
        found[name] = caught.value.code
    assert list(found.values()) == [
        ImageCode.MISSING,
        ImageCode.NOT_A_FILE,
        ImageCode.TOO_MANY_BYTES,
        ImageCode.UNREADABLE,
    ]


def test_a_side_below_the_minimum_is_refused() -> None:
    assert open_image(PNG, where="x", min_side=3).size == (5, 3)
    with pytest.raises(BadImage) as caught:
        open_image(PNG, where="x", min_side=4)
    assert caught.value.code is ImageCode.TOO_SMALL


def test_every_image_code_has_a_fixture() -> None:
    elsewhere = {
        ImageCode.MISSING,
        ImageCode.NOT_A_FILE,
        ImageCode.UNREADABLE,
        ImageCode.TOO_MANY_BYTES,
        ImageCode.RANGE,
    }
    assert {row[2] for row in BAD} | {code for _, code in BOMBS} | elsewhere == set(ImageCode)


def test_truncated_files_stay_refused() -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_a_refusal_survives_a_worker_process() -> None:
    import copy

    error = BadImage(ImageCode.EMPTY, "the file is empty", "a.jsonl:1")
    again = copy.copy(error)
    assert (again.code, again.reason, again.where, str(again)) == (
        error.code,
        error.reason,
        error.where,
        str(error),
    )


METADATA: list[Callable[[], dict[str, str]]] = [
    dict,
    lambda: {"prompt": "two red circles", "seed": "7", "model": "base"},
    lambda: {"prompt": "naïve café \U0001f600 \u202e\n", "empty": "", "long": "x" * 100_000},
]


@pytest.mark.parametrize("make", METADATA)
def test_a_png_remembers_its_texts(tmp_path: Path, make: Callable[[], dict[str, str]]) -> None:
    texts = make()
    data = png_bytes(Image.fromarray(RGB), texts)
    assert data == png_bytes(Image.fromarray(RGB), texts)
    (tmp_path / "a.png").write_bytes(data)
    assert png_text(tmp_path / "a.png") == png_text(data) == texts
    assert np.array_equal(np.asarray(open_image(data, where="x")), RGB)


def test_only_a_sound_png_has_texts(tmp_path: Path) -> None:
    for data, code in (
        (JPEG, ImageCode.FORMAT),
        (PNG[:-1], ImageCode.TRUNCATED),
        (real_bomb(9000), ImageCode.TOO_MANY_PIXELS),
        (raw_png((4, 4, 8, 2), b""), ImageCode.BROKEN),
    ):
        with pytest.raises(BadImage) as caught:
            png_text(data)
        assert caught.value.code is code
    with pytest.raises(BadImage) as caught:
        png_text(tmp_path / "nothing.png")
    assert caught.value.code is ImageCode.MISSING
