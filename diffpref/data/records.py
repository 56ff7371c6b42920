"""What a reader yields: a record that was checked once, or a bad row that names its reason."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class RowCode(StrEnum):
    """Why a row cannot be used. Images, lines and paths have the codes of `diffpref.io.codes`."""

    MISSING_FIELD = "row-missing-field"
    WRONG_TYPE = "row-wrong-type"
    EMPTY_PROMPT = "row-empty-prompt"
    LONG_PROMPT = "row-long-prompt"
    BAD_TEXT = "row-bad-text"
    NO_IMAGES = "row-no-images"
    TOO_MANY_IMAGES = "row-too-many-images"
    COUNT_MISMATCH = "row-count-mismatch"
    BAD_SCORE = "row-bad-score"
    BAD_LABEL = "row-bad-label"
    BAD_RANKING = "row-bad-ranking"
    BAD_WEIGHT = "row-bad-weight"
    UNLABELLED = "row-unlabelled"
    SELF_PAIR = "row-self-pair"
    MISSING_SIDE = "row-missing-side"
    MISSING_CAPTION = "row-missing-caption"
    DAMAGED_FILE = "row-damaged-file"
    NO_LABEL = "row-no-label"

    @property
    def meaning(self) -> str:
        return _MEANING[self]

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return _REMEDY[self]


_MEANING = {
    RowCode.MISSING_FIELD: "prompt, images, scores or their column is absent or null",
    RowCode.WRONG_TYPE: "a field holds another type than the schema says",
    RowCode.EMPTY_PROMPT: "the prompt is nothing but white space",
    RowCode.LONG_PROMPT: "more than 10,000 characters are not a prompt",
    RowCode.BAD_TEXT: "text with NUL, with half of a surrogate pair, or not in UTF-8",
    RowCode.NO_IMAGES: "the list of images is empty",
    RowCode.TOO_MANY_IMAGES: "more than 64 images for one prompt",
    RowCode.COUNT_MISMATCH: "every image needs one score",
    RowCode.BAD_SCORE: "a score is not a finite number",
    RowCode.BAD_LABEL: "label_0 is not a number from 0 to 1, or label_1 is not 1 - label_0",
    RowCode.BAD_RANKING: "ranks are whole numbers, 1 (or 0) is best, none above 64",
    RowCode.BAD_WEIGHT: "a weight is not a finite number above 0",
    RowCode.UNLABELLED: "has_label is false: nobody voted",
    RowCode.SELF_PAIR: "the same image, by name or by pixels, stands twice in the row",
    RowCode.MISSING_SIDE: "the stem is in one of the two folders only",
    RowCode.MISSING_CAPTION: "there is neither a .txt of this stem nor a line in captions.jsonl",
    RowCode.DAMAGED_FILE: "a file of the data set cannot be read to its end",
    RowCode.NO_LABEL: "the label table knows nothing of one of the images",
}

_REMEDY = {
    RowCode.MISSING_FIELD: "add the field, or leave the row out",
    RowCode.WRONG_TYPE: "write a text, a list of paths, a list of numbers",
    RowCode.EMPTY_PROMPT: "write what the pictures were asked to show",
    RowCode.LONG_PROMPT: "shorten it; models read 77 tokens",
    RowCode.BAD_TEXT: "remove the character, save the file as UTF-8",
    RowCode.NO_IMAGES: "name the images, or leave the row out",
    RowCode.TOO_MANY_IMAGES: "keep the images that were compared",
    RowCode.COUNT_MISMATCH: "write as many scores as images",
    RowCode.BAD_SCORE: "write a number: 1 and 0 for a vote, 0.5 and 0.5 for a tie",
    RowCode.BAD_LABEL: "write 1, 0, or 0.5 for a tie",
    RowCode.BAD_RANKING: "number the images from 1, the best",
    RowCode.BAD_WEIGHT: "write a number above 0, or leave weight out",
    RowCode.UNLABELLED: "nothing to do: the row is left out",
    RowCode.SELF_PAIR: "replace one of the two, or leave the row out",
    RowCode.MISSING_SIDE: "add the file of the same name to the other folder",
    RowCode.MISSING_CAPTION: "write the caption into STEM.txt beside the picture",
    RowCode.DAMAGED_FILE: "download the file again",
    RowCode.NO_LABEL: "make the label table of these data: diffpref label pairs",
}

HARMLESS = frozenset({RowCode.UNLABELLED.value})
"""Codes that describe a data set, not a defect: they never count against max_bad_fraction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A row that is left out.

    `file` is relative to the source; `line` counts from 1, for parquet it is the row of the file
    and 0 means the whole file; `column` names the field at fault.
    """

    file: str
    line: int
    row_id: str | None
    column: str | None
    code: str
    reason: str

    def __str__(self) -> str:
        column = f" ({self.column})" if self.column else ""
        return f"{self.file}:{self.line}: {self.code}{column}: {self.reason}"

    def plain(self) -> dict[str, str | int | None]:
        """Return what `bad_rows.jsonl` stores."""
        return {
            "file": self.file,
            "line": self.line,
            "row_id": self.row_id,
            "column": self.column,
            "code": self.code,
            "reason": self.reason,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRef:
    """Where an image comes from: a file, encoded bytes, or neither after a light read.

    `key` tells images of one source apart (uid, path or hash of the bytes); `generator` names the
    model that made the image.
    """

    key: str
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    generator: str | None = None

    @property
    def content(self) -> Path | bytes:
        """The file or the bytes to open.

        Raises:
            ValueError: the record was read without its images.
        """
        content = self.data if self.data is not None else self.path
        if content is None:
            raise ValueError(f"image {self.key} was read without its pixels")
        return content


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """k images of one prompt and how much each was liked.

    `scores` are votes (1 preferred, 0 not, .5 a tie) or any finite numbers, higher is better;
    `file` and `line` are those of `BadRow`.
    """

    prompt: str
    images: tuple[ImageRef, ...]
    scores: tuple[float, ...]
    user: str | None = None
    id: str | None = None
    source: str | None = None
    weight: float = 1.0
    file: str = ""
    line: int = 0

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def tied(self) -> bool:
        """True when several images all have the same score."""
        return len(self.scores) > 1 and min(self.scores) == max(self.scores)

    def bad(self, code: str, reason: str, column: str | None = None) -> BadRow:
        """Turn this record into a bad row, for faults seen only when its images are opened."""
        return BadRow(
            file=self.file,
            line=self.line,
            row_id=self.id,
            column=column,
            code=code,
            reason=reason,
        )


Row = Record | BadRow
