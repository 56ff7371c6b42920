"""Sources made on the spot: images with prompts and no opinion yet; images named by content."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from diffpref.data.readers import RecordSource
from diffpref.data.readers.reader import Ask, Reader, stamp_files
from diffpref.data.records import BadRow, ImageRef, Record, Row
from diffpref.data.validate import Fault, Place, bad_row, prompt_text
from diffpref.data.writers import image_data, image_name
from diffpref.io import ImageCode


def loose_source(name: str, files: Sequence[Path], prompts: Sequence[str]) -> RecordSource:
    """Return images on disk as rows of one image each, nobody's opinion known: a score of 1/2.

    Args:
        name: of the source, for messages.
        files: the images.
        prompts: one per image.
    """

    def rows(place: str, ask: Ask) -> Iterator[Row]:
        del place
        for line in range(ask.start, len(files)):
            yield _row(files[line], prompts[line], line + 1)

    def stamp(place: str, ask: Ask) -> str:
        del place, ask
        told = "\0".join(prompts).encode(errors="surrogateescape")
        return f"{stamp_files(files)} {blake2b(told, digest_size=16).hexdigest()}"

    reader = Reader(
        summary="images with prompts",
        knows=lambda _: False,
        rows=rows,
        count=lambda _, __: len(files),
        stamp=stamp,
    )
    return RecordSource(name=name, source=name, format="images", split="train", reader=reader)


def _row(file: Path, prompt: str, line: int) -> Row:
    try:
        text = prompt_text(prompt)
    except Fault as fault:
        return bad_row(fault, Place(file=file.name, line=line), file.name)
    image = ImageRef(key=str(file), path=file)
    return Record(prompt=text, images=(image,), scores=(0.5,), file=file.name, line=line)


def by_content(source: RecordSource) -> RecordSource:
    """Return the source with each image named as `write_jsonl` would name its file."""
    plain = source.reader

    def rows(place: str, ask: Ask) -> Iterator[Row]:
        for row in plain.rows(place, replace(ask, pixels=True)):
            yield row if isinstance(row, BadRow) else _named(row)

    def stamp(place: str, ask: Ask) -> str:
        return f"content {plain.stamp(place, ask)}"

    return replace(source, reader=replace(plain, rows=rows, stamp=stamp))


def _named(row: Record) -> Row:
    try:
        named = [replace(each, key=image_name(image_data(each))) for each in row.images]
    except OSError as error:
        return row.bad(ImageCode.UNREADABLE, f"an image cannot be read: {error.strerror}", "images")
    return replace(row, images=tuple(named))
