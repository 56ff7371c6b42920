"""Hugging Face data sets: hub ids and folders written by `save_to_disk`, streamed undecoded."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from diffpref.data.readers.columns import row_from_columns, wanted
from diffpref.data.readers.reader import Ask, Reader, stamp_files
from diffpref.data.records import Row
from diffpref.data.validate import Place
from diffpref.errors import DataError, HubError

PREFIX = "hf:"
HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$")
"""owner/name, and a branch, tag or commit after @."""

SAVED = ("dataset_info.json", "dataset_dict.json")
"""Written by `save_to_disk` for one split, and for several."""


@runtime_checkable
class Stream(Protocol):
    """What is used of `datasets.IterableDataset`."""

    column_names: list[str] | None

    def __iter__(self) -> Iterator[Mapping[str, object]]: ...

    def decode(self, enable: bool) -> "Stream": ...

    def skip(self, n: int) -> "Stream": ...

    def select_columns(self, column_names: list[str]) -> "Stream": ...


def _knows(source: str) -> bool:
    if _is_saved(Path(source)):
        return True
    return source.startswith(PREFIX) or (bool(HUB_ID.match(source)) and not os.path.lexists(source))


def _is_saved(path: Path) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in SAVED)


def _rows(source: str, ask: Ask) -> Iterator[Row]:
    stream = _open(source, ask.split).decode(False)
    names = stream.column_names or list(next(iter(stream), {}))
    stream = stream.select_columns(wanted(names, pixels=ask.pixels, where=source)).skip(ask.start)
    file = source.removeprefix(PREFIX) if not _is_saved(Path(source)) else Path(source).name
    for line, raw in enumerate(_guarded(stream, source), start=ask.start + 1):
        yield row_from_columns(raw, Place(file=file, line=line))


def _open(source: str, split: str) -> Stream:
    """Open one split as a stream.

    Raises:
        DataError: `datasets` is not installed, or there is no such split.
        HubError: the data set cannot be found or fetched.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        library = import_module("datasets")
    except ImportError:
        raise DataError(
            "reading Hugging Face data sets needs the package 'datasets'",
            where=source,
            hint='pip install "diffpref[hub]", or download its parquet files and name the folder',
        ) from None
    try:
        if _is_saved(Path(source)):
            saved = library.load_from_disk(source)
            return cast(
                Stream, (saved[split] if isinstance(saved, dict) else saved).to_iterable_dataset()
            )
        name, _, revision = source.removeprefix(PREFIX).partition("@")
        return library.load_dataset(name, split=split, revision=revision or None, streaming=True)
    except OSError as error:
        raise _unreachable(source, error) from error
    except (ValueError, KeyError) as error:
        raise DataError(str(error), where=source, hint="name another --split") from error


def _guarded(stream: Iterable[Mapping[str, object]], source: str) -> Iterator[Mapping[str, object]]:
    try:
        yield from stream
    except OSError as error:
        raise _unreachable(source, error) from error


def _unreachable(source: str, error: OSError) -> HubError:
    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in {"", "0"}
    hint = (
        "HF_HUB_OFFLINE is set: unset it, or name a local folder"
        if offline
        else "check the name and the network; for a gated data set run `hf auth login` first"
    )
    return HubError(f"cannot read this data set: {error}", where=source, hint=hint)


def _stamp(source: str, ask: Ask) -> str:
    """A local folder is known by its files; a hub id only by its name, so pin it with @commit."""
    if not _is_saved(Path(source)):
        return f"{source} {ask.split}"
    return stamp_files(sorted(path for path in Path(source).rglob("*") if path.is_file()))


HUB = Reader(
    summary="a Hugging Face data set: owner/name, hf:owner/name@commit, or a save_to_disk folder",
    knows=_knows,
    rows=_rows,
    count=lambda _source, _ask: None,
    stamp=_stamp,
)
