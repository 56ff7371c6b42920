"""The one door for images: what comes out is the picture a person saw, as 8-bit RGB."""

from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from diffpref.io.codes import BadImage, ImageCode
from diffpref.io.image_headers import Header, read_header

if TYPE_CHECKING:
    import PIL.Image

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 64 * 2**20
MAX_SIDE = 16384
_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def open_image(
    source: Path | str | bytes,
    *,
    where: str,
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
    max_side: int = MAX_SIDE,
    background: tuple[int, int, int] = (255, 255, 255),
) -> "PIL.Image.Image":
    """Decode a JPEG, PNG or WEBP into upright 8-bit RGB without metadata.

    Sizes are checked on the header, before any pixel is decoded. EXIF orientation is applied,
    transparency is composited on `background`, 16-bit grey is rescaled, and CMYK becomes
    (255 - c)(255 - k) / 255. Colour profiles are not applied. The first frame of a multi-picture
    JPEG is its picture; the others are previews.

    Args:
        source: a path, or the bytes of a file.
        where: file:line or row named in the error.
        min_side: shortest accepted side, in pixels.
        max_pixels: largest accepted width x height.
        max_side: longest accepted side, in pixels.
        background: colour under transparent pixels, 0..255.

    Raises:
        BadImage: the image is not used; `code` says why.
    """
    try:
        data = source if isinstance(source, bytes) else read_image_bytes(Path(source))
        header = read_header(data)
        check_size(header, min_side, max_pixels, max_side)
        image = _decode(data, header)
        return _upright(_to_rgb(image, background), image.info.get("exif"))
    except BadImage as error:
        raise BadImage(error.code, error.reason, where) from error


def rgb_image(
    image: "PIL.Image.Image", *, background: tuple[int, int, int] = (255, 255, 255)
) -> "PIL.Image.Image":
    """Convert an image already in memory to 8-bit RGB by the rules of `open_image`.

    Mode F is expected in [0, 1], modes I and I;16 in 0..65535.

    Raises:
        BadImage: RANGE, the values lie outside that range.
    """
    converted = _to_rgb(image, background)
    converted.info.clear()
    return converted


def is_flat(image: "PIL.Image.Image") -> bool:
    """Say whether every pixel has the same colour, which is rarely a picture anyone judged."""
    return len(image.convert("RGB").getcolors(1) or ()) == 1


def read_image_bytes(path: Path) -> bytes:
    """Read a regular file of acceptable size.

    Raises:
        BadImage: MISSING, NOT_A_FILE, UNREADABLE or TOO_MANY_BYTES.
    """
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise BadImage(ImageCode.NOT_A_FILE, f"{path.name} is not a regular file")
        if status.st_size > MAX_BYTES:
            reason = f"{status.st_size} bytes exceed the ceiling of {MAX_BYTES}"
            raise BadImage(ImageCode.TOO_MANY_BYTES, reason)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BadImage(ImageCode.MISSING, f"there is no file {path.name}") from error
    except OSError as error:
        raise BadImage(ImageCode.UNREADABLE, f"{path.name}: {error.strerror}") from error


def check_size(header: Header, min_side: int, max_pixels: int, max_side: int) -> None:
    """Refuse animations and sizes, in pixels, outside the limits.

    Raises:
        BadImage: ANIMATED, TOO_SMALL, TOO_MANY_PIXELS or TOO_LARGE.
    """
    width, height = header.width, header.height
    if header.animated:
        raise BadImage(ImageCode.ANIMATED, f"the {header.format} is an animation; keep one frame")
    if min(width, height) < max(1, min_side):
        raise BadImage(ImageCode.TOO_SMALL, f"{width}x{height} is below {min_side} pixels")
    if width * height > max_pixels:
        raise BadImage(ImageCode.TOO_MANY_PIXELS, f"{width}x{height} exceeds {max_pixels} pixels")
    if max(width, height) > max_side:
        raise BadImage(ImageCode.TOO_LARGE, f"{width}x{height} has a side over {max_side}")


def _decode(data: bytes, header: Header) -> "PIL.Image.Image":
    from PIL import Image

    try:
        image = Image.open(BytesIO(data), formats=[header.format])
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise a dozen unrelated types for damaged content
        code = ImageCode.TRUNCATED if "truncated" in str(error).lower() else ImageCode.BROKEN
        raise BadImage(code, f"the {header.format} cannot be decoded: {error}") from error
    if image.size != (header.width, header.height):
        raise BadImage(ImageCode.BROKEN, f"the pixels are {image.size}, the header says otherwise")
    return image


def _to_rgb(image: "PIL.Image.Image", background: tuple[int, int, int]) -> "PIL.Image.Image":
    from PIL import Image

    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return _rescaled(image, background)
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    below = Image.new("RGB", layer.size, background)
    below.paste(layer.convert("RGB"), mask=layer.getchannel("A"))
    return below


def _rescaled(image: "PIL.Image.Image", background: tuple[int, int, int]) -> "PIL.Image.Image":
    """Map [0, 1] floats or 0..65535 integers to 0..255, rounding to nearest."""
    import numpy as np
    from PIL import Image

    top = 1.0 if image.mode == "F" else 65535.0
    values = np.asarray(image).astype(np.float64)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= top):
        reason = f"values of mode {image.mode} must be finite and within 0..{top:g}"
        raise BadImage(ImageCode.RANGE, reason)
    grey = np.rint(values * (255 / top)).astype(np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    if isinstance(image.info.get("transparency"), int):
        rgb[values == image.info["transparency"]] = background
    return Image.fromarray(rgb)


def _upright(image: "PIL.Image.Image", exif: object) -> "PIL.Image.Image":
    """Apply the EXIF orientation; like browsers, take unreadable EXIF for none."""
    from PIL import Image

    image.info.clear()
    tags = Image.Exif()
    try:
        tags.load(exif if isinstance(exif, bytes) else b"")
        turn = _TURNS.get(tags.get(_ORIENTATION, 1))
    except Exception:
        return image
    return image if turn is None else image.transpose(Image.Transpose[turn])
