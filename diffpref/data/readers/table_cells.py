"""The cells of tables of opinions: what columns are called, and what is wrong with a cell."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from diffpref.data.readers.files import file_image
from diffpref.data.records import ImageRef, RowCode
from diffpref.data.validate import Fault
from diffpref.io import BadPath, safe_path

USER = (
    "user", "user_id", "participant", "participant_id", "rater", "rater_id", "annotator",
    "annotator_id", "designer", "designer_id", "worker_id",
)  # fmt: skip
PROMPT = ("prompt", "caption", "description")
GROUP = ("group", "category", "prompt_id")
IMAGE = ("image", "image_path", "image_name", "file_name", "filename", "image_id")
RATING = ("rating", "score")
FIRST = (
    "image_a",
    "image_0",
    "image_1_path",
    "image_left",
    "image_0_uid",
    "image_left_id",
    "left",
    "image_1",
)
SECOND = (
    "image_b", "image_2", "image_1", "image_2_path", "image_right", "image_1_uid",
    "image_right_id", "right",
)  # fmt: skip
CHOICE = ("preference", "choice", "winner", "preferred", "label_0")
SHARE = "label_0"
"""The one column of choices that holds numbers: how much of it the first picture has."""

STRENGTH = ("strength", "weight")
ID = ("id", "ranking_id")

NAMES: Mapping[str, float] = {
    **dict.fromkeys(("a", "left", "first", "image_a", "image_left"), 1.0),
    **dict.fromkeys(("b", "right", "second", "image_b", "image_right"), 0.0),
    **dict.fromkeys(("tie", "equal", "both", "same", "neither", "t"), 0.5),
}
"""What a choice is called -> how much of it the first picture has."""

FOLDERS = ("", "images/")
ENDINGS = ("", ".png", ".jpg", ".jpeg", ".webp")
NO_PROMPT = "pictures of one person's table"
"""Stands where a table of ratings has neither prompts nor groups."""

Cells = Mapping[str, str]


def share_of(cells: Cells) -> float:
    """Return how much of a choice the first picture has: 1, 0, or 1/2 for a tie.

    Numbers are read in the column of shares only: elsewhere a 1 may mean either picture.

    Raises:
        Fault: it is no choice.
    """
    said = needed(cells, CHOICE)
    if next(name for name in CHOICE if name in cells) == SHARE:
        found = finite(said, SHARE)
        if 0 <= found <= 1:
            return found
    elif said.strip().lower() in NAMES:
        return NAMES[said.strip().lower()]
    reason = f"'{said[:40]}' is no choice: write a, b or tie, or a's share from 0 to 1 as {SHARE}"
    raise Fault(RowCode.BAD_LABEL, reason, CHOICE[0])


def table_image(value: object, root: Path) -> ImageRef:
    """Return the picture a cell names: a path below `root`, or a name of a file there.

    Raises:
        Fault: there is no such picture, or the path leads out.
    """
    name = str(value)
    for folder in FOLDERS:
        for ending in ENDINGS:
            try:
                safe_path(root, f"{folder}{name}{ending}")
            except BadPath:
                continue
            return file_image(f"{folder}{name}{ending}", root)
    return file_image(name, root)  # says what is wrong with it


def needed(cells: Cells, names: Sequence[str]) -> str:
    """Return the cell of the first of some columns that is there.

    Raises:
        Fault: none is, or it is empty.
    """
    found = optional(cells, names)
    if found is None:
        there = [name for name in names if name in cells]
        reason = (
            f"'{there[0]}' is empty"
            if there
            else f"'{names[0]}' is missing: rename one of {', '.join(cells)[:200]}"
        )
        raise Fault(RowCode.MISSING_FIELD, reason, names[0])
    return found


def optional(cells: Cells, names: Sequence[str]) -> str | None:
    """Return the cell of the first of some columns that is there; None if it is empty."""
    found = next((cells[name] for name in names if name in cells), "")
    return found if found.strip() else None


def finite(said: str, column: str) -> float:
    """Return a cell as a number.

    Raises:
        Fault: it is none, or not finite.
    """
    try:
        value = float(said)
    except ValueError:
        value = float("nan")
    if value - value != 0:
        raise Fault(RowCode.BAD_SCORE, f"'{said[:40]}' is no finite number", column)
    return value
