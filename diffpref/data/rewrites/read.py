"""Reads prompts with candidate rewrites.

jsonl, one prompt a line:

    {"prompt": "a fox", "rewrites": ["a red fox in snow", ...], "id"?: "7",
     "image"?: "0.png", "images"?: ["1.png", ...]}

`image` is a picture made from the prompt, `images` one per rewrite, in their order; they are
needed by image scorers only. Paths are relative to the file.

txt: blocks divided by empty lines, the first line of each the prompt, the others its rewrites.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from json import dumps
from pathlib import Path

from diffpref.errors import DataError
from diffpref.io import BadLine, BadPath, read_jsonl, safe_path

MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """A prompt and its rewrites; `texts` and `pictures` begin with the prompt's own.

    `key` is the SHA-256 of the texts and of the pictures' bytes: a row is scored once.
    """

    texts: tuple[str, ...]
    pictures: tuple[Path, ...]
    where: str
    id: str | None
    key: str

    @property
    def prompt(self) -> str:
        return self.texts[0]


@dataclass(frozen=True)
class BadCandidates:
    """A row that cannot be used, and why."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


Row = Candidates | BadCandidates


def read_candidates(path: Path, *, pictures: bool) -> Iterator[Row]:
    """Yield every row of a .jsonl or .txt file.

    Args:
        path: the file.
        pictures: every row must have them.

    Raises:
        DataError: no such file, or a .txt that is no UTF-8 text.
    """
    if not path.is_file():
        hint = 'give a .jsonl file of {"prompt": ..., "rewrites": [...]}, or a .txt file'
        raise DataError("there is no such file of rewrites", where=str(path), hint=hint)
    if path.suffix == ".txt":
        yield from _from_text(path, pictures)
        return
    for number, row in read_jsonl(path):
        where = f"{path.name}:{number}"
        yield (
            _bad(where, row.reason)
            if isinstance(row, BadLine)
            else _row(path, row, where, pictures)
        )


def _from_text(path: Path, pictures: bool) -> Iterator[Row]:
    if path.stat().st_size > MAX_BYTES:
        raise DataError(
            f"has more than {MAX_BYTES} bytes", where=str(path), hint="give a jsonl file"
        )
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        hint = "save the file as UTF-8"
        raise DataError(f"byte {error.start} is not UTF-8", where=str(path), hint=hint) from error
    block: list[str] = []
    for number, line in enumerate([*lines, ""], 1):
        if line.strip():
            block.append(line.strip())
        elif block:
            where = f"{path.name}:{number - len(block)}"
            yield _row(path, {"prompt": block[0], "rewrites": block[1:]}, where, pictures)
            block = []


def _row(path: Path, row: dict[str, object], where: str, pictures: bool) -> Row:
    prompt, rewrites = row.get("prompt"), row.get("rewrites")
    if not isinstance(prompt, str) or not prompt.strip():
        return _bad(where, "has no text in `prompt`")
    if not isinstance(rewrites, list) or not rewrites:
        return _bad(where, "has no list of texts in `rewrites`")
    texts = [prompt, *rewrites]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        return _bad(where, "a rewrite is not a text")
    named = row.get("id")
    if named is not None and not isinstance(named, str):
        return _bad(where, "`id` is not a text")
    try:
        found = _pictures(path, row, len(texts)) if pictures else ()
    except (BadPath, OSError, ValueError) as error:
        return _bad(where, str(getattr(error, "reason", error)))
    plain = tuple(str(text).strip() for text in texts)
    contents = [sha256(file.read_bytes()).hexdigest() for file in found]
    key = sha256(dumps([plain, contents]).encode()).hexdigest()
    return Candidates(texts=plain, pictures=found, where=where, id=named, key=key)


def _pictures(path: Path, row: dict[str, object], size: int) -> tuple[Path, ...]:
    own, others = row.get("image"), row.get("images")
    names = [own, *others] if isinstance(others, list) else [own]
    if len(names) != size or not all(isinstance(name, str) for name in names):
        raise ValueError("image scorers need `image` of the prompt and `images`, one per rewrite")
    return tuple(safe_path(path.parent, str(name)) for name in names)


def _bad(where: str, reason: str) -> BadCandidates:
    return BadCandidates(where, reason)
