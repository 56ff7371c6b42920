"""Instructions that published judges were given: not shipped, read beside their weights."""

from hashlib import sha256
from pathlib import Path

from diffpref.errors import DataError

FILE = "instruction.txt"
PROMPT = "{text_prompt}"
"""Stands in an instruction where the prompt goes."""

LONGEST = 2**16


def read_instruction(path: Path, *, published: str | None, origin: str) -> str:
    r"""Return an instruction that names the prompt's place once.

    Line ends are read as \n, and a final one that an editor added or took away is mended where
    the published text tells it.

    Args:
        path: the file, or a folder with `instruction.txt`.
        published: SHA-256 of the UTF-8 text it must be; None takes any.
        origin: where a person finds it.

    Raises:
        DataError: not readable, or another text.
    """
    file = path / FILE if path.is_dir() else path
    try:
        with file.open("rb") as opened:
            text = opened.read(LONGEST).decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        what, hint = f"cannot be read: {error}", f"write it as UTF-8 text: {origin}"
        raise DataError(what, where=str(file), hint=hint) from error
    if published is not None:
        text = _mended(text, published, file, origin)
    if text.count(PROMPT) != 1:
        what = f"it names the prompt's place, {PROMPT}, {text.count(PROMPT)} times"
        raise DataError(what, where=str(file), hint="name it exactly once")
    return text


def _mended(text: str, published: str, file: Path, origin: str) -> str:
    for each in (text, text.removesuffix("\n"), text + "\n"):
        if sha256(each.encode()).hexdigest() == published:
            return each
    found = sha256(text.encode()).hexdigest()
    what = (
        f"this is not the published instruction: {len(text)} characters with SHA-256 "
        f"{found[:12]}..., expected {published[:12]}..."
    )
    hint = f"take it unchanged, trailing spaces included: {origin}"
    raise DataError(what, where=str(file), hint=hint)
