"""PNG files that carry named texts: how a sample remembers its prompt, seed and model."""

from io import BytesIO
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING

from diffpref.io.codes import BadImage, ImageCode
from diffpref.io.image_headers import read_header
from diffpref.io.images import MAX_PIXELS, MAX_SIDE, check_size, read_image_bytes

if TYPE_CHECKING:
    import PIL.Image


def png_bytes(image: "PIL.Image.Image", text_metadata: dict[str, str]) -> bytes:
    """Encode a PNG that carries named UTF-8 texts; equal inputs give equal bytes."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in text_metadata.items():
        info.add_itxt(key, value)
    buffer = BytesIO()
    image.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def png_text(source: Path | str | bytes) -> dict[str, str]:
    """Return the texts of a PNG.

    Raises:
        BadImage: the file is not a sound PNG.
    """
    from PIL.PngImagePlugin import PngImageFile

    where = "" if isinstance(source, bytes) else fspath(source)
    try:
        data = source if isinstance(source, bytes) else read_image_bytes(Path(source))
        header = read_header(data)
        if header.format != "PNG":
            raise BadImage(ImageCode.FORMAT, f"the content is {header.format}, not PNG")
        check_size(header, 1, MAX_PIXELS, MAX_SIDE)
        texts = PngImageFile(BytesIO(data)).text  # decodes to the end: texts may stand there
    except BadImage as error:
        raise BadImage(error.code, error.reason, where) from error
    except Exception as error:  # decoders raise a dozen unrelated types for damaged content
        raise BadImage(ImageCode.BROKEN, f"the PNG cannot be read: {error}", where) from error
    return {key: str(value) for key, value in texts.items()}
