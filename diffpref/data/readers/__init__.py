"""The formats of preference data; a source is recognised by its content, not by its name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from os.path import lexists
from pathlib import Path
from types import MappingProxyType

from diffpref.assets import resolve
from diffpref.data.readers.folders import FOLDERS
from diffpref.data.readers.hub import HUB
from diffpref.data.readers.jsonl import JSONL, RANKED
from diffpref.data.readers.parquet import PARQUET
from diffpref.data.readers.reader import Ask, Reader
from diffpref.data.readers.tables import CHOICES, RATINGS
from diffpref.data.records import Row
from diffpref.errors import DataError, UsageError, nearest

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "jsonl": JSONL,
        "ranked": RANKED,
        "pickapic": PARQUET,
        "folders": FOLDERS,
        "ratings": RATINGS,
        "choices": CHOICES,
        "hub": HUB,
    }
)
"""Format -> reader; a format not listed here is looked up in the entry points of GROUP."""

GROUP = "diffpref.readers"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordSource:
    """A source whose format is known. `name` is what the user wrote, `source` what it means."""

    name: str
    source: str
    format: str
    split: str
    reader: Reader

    def rows(self, *, pixels: bool = True, start: int = 0) -> Iterator[Row]:
        """Yield a record or a bad row for every row from `start`, always in the same order."""
        return self.reader.rows(self.source, Ask(split=self.split, pixels=pixels, start=start))

    def count(self) -> int | None:
        """Return how many rows there are, or None when only reading to the end tells."""
        return self.reader.count(self.source, Ask(split=self.split, pixels=False))

    def stamp(self) -> str:
        """Return text that changes whenever the rows or their images may have changed."""
        return self.reader.stamp(self.source, Ask(split=self.split, pixels=False))


def open_records(source: str, *, format: str | None = None, split: str = "train") -> RecordSource:
    """Recognise a source: a file, a folder, `builtin:pairs`, or a Hugging Face data set.

    Args:
        source: what the user wrote.
        format: a name of READERS or of an installed plug-in; None looks at the content.
        split: which part of a source that has several; others ignore it.

    Raises:
        DataError: there is no such source, or no format or several fit it.
        UsageError: there is no such format.
    """
    place = resolve(source)
    name = format or _recognise(source, place)
    return RecordSource(name=source, source=place, format=name, split=split, reader=_reader(name))


def holds_rounds(source: str) -> bool:
    """Say whether a path is a folder of an online run's rounds, which are no records."""
    try:
        return any(Path(source).glob("round-*.safetensors"))
    except (OSError, ValueError):  # no path at all
        return False


def _recognise(source: str, place: str) -> str:
    fitting = [name for name, reader in READERS.items() if reader.knows(place)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise DataError(
            f"fits several formats: {', '.join(fitting)}",
            where=source,
            hint=f"choose one, for example --format {fitting[0]}, or name the file itself",
        )
    if not lexists(place):
        raise DataError("there is no such file or folder", where=source, hint=_neighbours(place))
    if holds_rounds(place):
        raise DataError(
            "holds rounds of an online run, which a data set is made of first",
            where=source,
            hint=f"diffpref data export {source} OUT, then data.source=OUT; or learn from the "
            "rounds themselves by rollout.frozen",
        )
    tried = "\n  ".join(f"{name}: {reader.summary}" for name, reader in READERS.items())
    raise DataError(
        "holds no preference data in a known format", where=source, hint=f"tried\n  {tried}"
    )


def _neighbours(place: str) -> str:
    """Say what there is instead."""
    parent = Path(place).parent
    known = [path.name for path in parent.iterdir()] if parent.is_dir() else []
    hub = "a Hugging Face data set is written owner/name"
    close = get_close_matches(Path(place).name, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'? Else: {hub}" if close else hub


def _reader(name: str) -> Reader:
    if name in READERS:
        return READERS[name]
    found = {each.name: each for each in entry_points(group=GROUP)}
    if name not in found:
        hint = nearest(name, [*READERS, *found])
        raise UsageError("there is no such format", where=f"--format {name}", hint=hint)
    reader = found[name].load()
    if not isinstance(reader, Reader):
        raise UsageError(
            "the plug-in is no diffpref.data.readers.reader.Reader",
            where=f"--format {name}",
            hint=f"update or remove the package that installs {found[name].value}",
        )
    return reader
