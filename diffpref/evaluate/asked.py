"""Images on disk and the prompt of each: given, in the PNG, in the file's name, or in a table."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffpref.errors import DataError, UsageError, nearest
from diffpref.io import BadImage, BadLine, BadText, png_text, read_jsonl
from diffpref.io.table import read_csv

ENDINGS = (".jpeg", ".jpg", ".png", ".webp")
OTHER_ENDINGS = (".avif", ".bmp", ".gif", ".heic", ".jfif", ".jp2", ".tif", ".tiff")
"""Pictures that no scorer opens."""

SOURCES = ("filename", "png-metadata", "csv", "jsonl")
"""Where prompts may be, besides a table that is named."""

IMAGE_COLUMNS = ("file", "file_name", "image", "path")
PROMPT_COLUMNS = ("prompt", "caption", "text")
BESIDE = ("metadata", "captions", "prompts")
"""Names of a table beside the images."""

_NUMBER = re.compile(r"[-_ ]*\(?\d+\)?$")
_HINT = "give --prompt or --prompts-from"


def image_files(images: Sequence[Path]) -> list[Path]:
    """Expand folders into their images, by name.

    Raises:
        DataError: a path does not exist, or a folder holds none.
    """
    found: list[Path] = []
    for path in images:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in ENDINGS)
            if not inside:
                hint = f"images end in {', '.join(ENDINGS)}"
                raise DataError("holds no images", where=str(path), hint=hint)
            found += inside
        elif path.exists():
            found.append(path)
        else:
            hint = "check the path: images or folders of images"
            raise DataError("there is no such file or folder", where=str(path), hint=hint)
    return found


def left_out(images: Sequence[Path]) -> list[Path]:
    """Return the pictures inside named folders that are of no format that scorers open."""
    folders = [path for path in images if path.is_dir()]
    inside = [each for folder in folders for each in folder.iterdir()]
    return sorted(each for each in inside if each.suffix.lower() in OTHER_ENDINGS)


def asked_of(
    files: Sequence[Path],
    *,
    prompt: str | None = None,
    source: str | None = None,
    hint: str = _HINT,
) -> list[str]:
    """Return the prompt of every image.

    Args:
        files: the images.
        prompt: of all of them.
        source: one of SOURCES, or a .csv or .jsonl file; None looks into the PNGs.
        hint: the next action where an image has no prompt, in the options of the verb.

    Returns:
        One prompt per image.

    Raises:
        UsageError: both are given, or there is no such source.
        DataError: an image has no prompt there, or the table is damaged.
    """
    if prompt is not None and source is not None:
        what = "give --prompt or --prompts-from, not both"
        raise UsageError(what, where="--prompt", hint="leave one out")
    if prompt is not None:
        return [prompt] * len(files)
    if source in (None, "png-metadata"):
        return [_of_png(file, hint) for file in files]
    if source == "filename":
        return [_of_name(file, hint) for file in files]
    if source in ("csv", "jsonl"):
        tables = {file.parent: _beside(file.parent, source) for file in files}
        known = {folder: _read_table(table) for folder, table in tables.items()}
        return [known[file.parent].prompt(file) for file in files]
    table = Path(source)
    if table.suffix not in (".csv", ".jsonl"):
        near = f"{nearest(source, SOURCES)}; or name a .csv or .jsonl file"
        raise UsageError("is no source of prompts", where=f"--prompts-from {source}", hint=near)
    named = _read_table(table)
    return [named.prompt(file) for file in files]


def _of_png(path: Path, hint: str) -> str:
    try:
        texts = png_text(path)
    except BadImage as error:
        what = f"no prompt can be read: {error.reason}"
        raise DataError(what, where=str(path), hint=hint) from error
    if "prompt" not in texts:
        raise DataError("the PNG names no prompt", where=str(path), hint=hint)
    return texts["prompt"]


def _of_name(path: Path, hint: str) -> str:
    """Return a file's name as words: underscores are spaces, a number at its end is none."""
    words = _NUMBER.sub("", path.stem).replace("_", " ").strip()
    if not any(character.isalpha() for character in words):
        raise DataError("the file's name holds no words", where=str(path), hint=hint)
    return words


def _beside(folder: Path, kind: str) -> Path:
    for name in BESIDE:
        if (folder / f"{name}.{kind}").is_file():
            return folder / f"{name}.{kind}"
    hint = f"call it {BESIDE[0]}.{kind}, or name it: --prompts-from FILE.{kind}"
    raise DataError(
        f"there is no .{kind} with prompts beside the images", where=str(folder), hint=hint
    )


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Prompts by image; an image is found by its path from the table's folder, or by its name."""

    path: Path
    by_path: Mapping[Path, str]
    by_name: Mapping[str, set[str]]

    def prompt(self, file: Path) -> str:
        """Return an image's prompt.

        Raises:
            DataError: the table has none for it, or several files of its name.
        """
        if file.resolve() in self.by_path:
            return self.by_path[file.resolve()]
        named = self.by_name.get(file.name, set())
        if len(named) == 1:
            return next(iter(named))
        what = f"has {'several prompts' if named else 'no prompt'} for an image called {file.name}"
        hint = f"its images: {', '.join(sorted(self.by_name)[:5])}"
        raise DataError(what, where=str(self.path), hint=hint)


def _read_table(path: Path) -> _Table:
    by_path: dict[Path, str] = {}
    by_name: dict[str, set[str]] = {}
    for where, image, prompt in _rows(path):
        place = (path.parent / image).resolve()
        if by_path.setdefault(place, prompt) != prompt:
            hint = "an image has one prompt; put the others into another table"
            raise DataError(f"gives {image} two prompts", where=where, hint=hint)
        by_name.setdefault(place.name, set()).add(prompt)
    return _Table(path=path, by_path=by_path, by_name=by_name)


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (where, image, prompt) of every line of a table."""
    try:
        lines = read_csv(path) if path.suffix == ".csv" else read_jsonl(path)
        for number, line in lines:
            where = f"{path}:{number}"
            if isinstance(line, BadLine):
                raise DataError(line.reason, where=where, hint="mend the line")
            prompt = next((line[name] for name in PROMPT_COLUMNS if name in line), None)
            if not isinstance(prompt, str) or not prompt.strip():
                hint = f"its columns: {', '.join(line)}"
                raise DataError(f"has no {' or '.join(PROMPT_COLUMNS)}", where=where, hint=hint)
            for image in _images(line, where):
                yield where, image, prompt.strip()
    except BadText as error:
        raise DataError(error.reason, where=error.where or str(path), hint="mend it") from error
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise DataError(what, where=str(path), hint="check the path") from error


def _images(line: dict[str, object] | dict[str, str], where: str) -> list[str]:
    several = line.get("images")
    named = (
        several
        if isinstance(several, list)
        else [line[name] for name in IMAGE_COLUMNS if name in line][:1]
    )
    found = [each for each in named if isinstance(each, str) and each]
    if not found:
        hint = f"its columns: {', '.join(line)}"
        raise DataError(f"has no {' or '.join(IMAGE_COLUMNS)}", where=where, hint=hint)
    return found
