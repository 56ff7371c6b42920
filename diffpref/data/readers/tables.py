"""CSV tables of what people thought: ratings of single pictures, or choices between two.

    ratings  user, image, rating, and prompt or group         (as PAMELA, 2604.07427, rates)
    choices  user, image_a, image_b, preference, prompt       (as DesignPref, 2511.20513, and
                                                               Pick-a-Pic without its pictures)

Column names differ from table to table; `table_cells` lists those that are read, ours first.
Neither data set's own files were at hand: rename columns that are called something else.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice, pairwise
from pathlib import Path

from diffpref.data.readers.reader import Ask, Reader, stamp_rows
from diffpref.data.readers.table_cells import (
    CHOICE,
    FIRST,
    GROUP,
    ID,
    IMAGE,
    NO_PROMPT,
    PROMPT,
    RATING,
    SECOND,
    STRENGTH,
    USER,
    Cells,
    finite,
    needed,
    optional,
    share_of,
    table_image,
)
from diffpref.data.records import Row
from diffpref.data.validate import Fault, Place, bad_row, check_row
from diffpref.errors import DataError
from diffpref.io import BadText
from diffpref.io.table import read_csv

Line = tuple[int, Cells]


@dataclass(frozen=True, kw_only=True)
class Rated:
    """One rating: by whom, of which picture, how high, and what it may be compared within."""

    line: int
    user: str
    image: str
    rating: float
    prompt: str | None
    group: str | None


def table_file(source: str) -> Path | None:
    """Return the .csv a source means: itself, or the only one in the folder."""
    path = Path(source)
    if path.is_dir():
        found = sorted(path.glob("*.csv"))
        return found[0] if len(found) == 1 else None
    return path if path.suffix.lower() == ".csv" and path.is_file() else None


def _columns(source: str) -> set[str]:
    path = table_file(source)
    try:
        first = next(iter(read_csv(path)), None) if path is not None else None
    except (BadText, OSError):
        return set()
    return set(first[1]) if first is not None else set()


def _has(columns: set[str], *wanted: Sequence[str]) -> bool:
    return all(columns & set(names) for names in wanted)


def _lines(source: str) -> tuple[Path, list[Line]]:
    path = table_file(source)
    if path is None:
        hint = "name the .csv file itself"
        raise DataError("there is no single .csv file", where=source, hint=hint)
    try:
        return path, list(read_csv(path))
    except BadText as error:
        hint = "mend that line, or write the table again as UTF-8 CSV"
        raise DataError(error.reason, where=error.where or path.name, hint=hint) from error


def _choice_rows(source: str) -> Iterator[Row]:
    path, lines = _lines(source)
    for line, cells in lines:
        place = Place(file=path.name, line=line)
        try:
            plain = _chosen(cells)
        except Fault as fault:
            yield bad_row(fault, place, optional(cells, ID))
        else:
            yield check_row(plain, place, lambda value, _: table_image(value, path.parent))


def _chosen(cells: Cells) -> dict[str, object]:
    first = share_of(cells)
    strength = optional(cells, STRENGTH)
    return {
        "prompt": needed(cells, PROMPT),
        "images": [needed(cells, FIRST), needed(cells, SECOND)],
        "scores": [first, 1 - first],
        "user": needed(cells, USER),
        "id": optional(cells, ID),
        "weight": None if strength is None else finite(strength, STRENGTH[0]),
    }


def _rating_rows(source: str) -> Iterator[Row]:
    """Yield bad lines, then each person's pairs: neighbours in an order mixed by a hash."""
    path, lines = _lines(source)
    found: list[Rated] = []
    for line, cells in lines:
        try:
            found.append(_rated(line, cells))
        except Fault as fault:
            yield bad_row(fault, Place(file=path.name, line=line), optional(cells, ID))
    for (_, name), rated in _together(found).items():
        for first, second in pairwise(sorted(rated, key=_mixed)):
            yield _pair(first, second, name, path)


def _together(found: Sequence[Rated]) -> dict[tuple[str, str], list[Rated]]:
    """Return ratings by person and prompt; by group if nobody rated two pictures of one prompt."""
    by_prompt: dict[tuple[str, str], list[Rated]] = {}
    by_group: dict[tuple[str, str], list[Rated]] = {}
    for each in found:
        by_prompt.setdefault((each.user, each.prompt or NO_PROMPT), []).append(each)
        by_group.setdefault((each.user, each.group or NO_PROMPT), []).append(each)
    prompted = any(each.prompt for each in found) and any(len(v) > 1 for v in by_prompt.values())
    return by_prompt if prompted else by_group


def _rated(line: int, cells: Cells) -> Rated:
    return Rated(
        line=line,
        user=needed(cells, USER),
        image=needed(cells, IMAGE),
        rating=finite(needed(cells, RATING), RATING[0]),
        prompt=optional(cells, PROMPT),
        group=optional(cells, GROUP),
    )


def _pair(first: Rated, second: Rated, name: str, path: Path) -> Row:
    share = (first.rating > second.rating) + 0.5 * (first.rating == second.rating)
    plain = {
        "prompt": name,
        "images": [first.image, second.image],
        "scores": [share, 1 - share],
        "user": first.user,
    }
    place = Place(file=path.name, line=second.line)
    return check_row(plain, place, lambda value, _: table_image(value, path.parent))


def _mixed(rated: Rated) -> bytes:
    return blake2b(f"{rated.user}\0{rated.image}".encode(), digest_size=8).digest()


def _reader(summary: str, rows: Callable[[str], Iterator[Row]], *columns: Sequence[str]) -> Reader:
    def some(source: str, ask: Ask) -> Iterator[Row]:
        return islice(rows(source), ask.start, None)

    def count(source: str, ask: Ask) -> int | None:
        del ask
        return sum(1 for _ in rows(source))

    def stamp(source: str, ask: Ask) -> str:
        del ask
        return stamp_rows(rows(source))

    return Reader(
        summary=summary,
        knows=lambda source: _has(_columns(source), *columns),
        rows=some,
        count=count,
        stamp=stamp,
    )


RATINGS = _reader(
    "a .csv of ratings: user, image, rating, and prompt or group, beside the images",
    _rating_rows,
    USER, IMAGE, RATING,
)  # fmt: skip

CHOICES = _reader(
    "a .csv of choices: user, image_a, image_b, preference (a, b, tie), prompt, beside the images",
    _choice_rows,
    USER, FIRST, SECOND, CHOICE,
)  # fmt: skip
