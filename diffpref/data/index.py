"""The index of a cached data set: where its rows, latents and embeddings lie, mapped from one file.

rows/<key>.index.safetensors is made once by whoever opens the data set first and mapped by all
processes of a machine, which share its pages: a process holds no row it does not look at.
"""

import json
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from diffpref.data.encoder import prompt_id
from diffpref.data.places import Places, columns_of, in_place, places_of
from diffpref.data.rows import CachedRow, MappedRows, damaged, parse_row, rows_file
from diffpref.data.shelf import Shelf, file_hash
from diffpref.errors import DiskError
from diffpref.io import BadText, parse_json, save_tensors
from diffpref.io.mapped import Mapped
from diffpref.io.tensors import tensor_chunks

INDEX = ".index.safetensors"
FORMAT = 1
TOLD = "told"


class Group(NamedTuple):
    """Rows that can share a window: images of each row, and the rows' numbers, ascending."""

    images: int
    rows: Int[Tensor, " m"]


@dataclass(frozen=True, kw_only=True)
class Index:
    """A data set's rows, its groups in the order of first sight, and its two shelves.

    weighted: whether any row has a weight other than 1.
    """

    rows: Sequence[CachedRow] = field(repr=False)
    groups: Sequence[Group] = field(repr=False)
    weighted: bool
    images: Places
    text: Places


def find_index(root: Path, header: Mapping[str, Any]) -> Index | None:
    """Return the index of these very rows, or None if there is none or a shard of it is gone."""
    path = index_file(root, header)
    try:
        pages = Mapped(path)
        places, metadata = pages.places()
        told: Any = parse_json(metadata[TOLD])
        columns = {name: pages.tensor(place) for name, place in places.items()}
        if told["format"] != FORMAT or told["sha256"] != header["sha256"]:
            return None
        found = _index(root, header, columns, told)
    except (OSError, BadText, KeyError, TypeError, ValueError):
        return None
    there = (in_place(places.folder, told[name]) for name, places in _shelves(found).items())
    return found if all(there) else None


def make_index(root: Path, header: Mapping[str, Any], images: Shelf, text: Shelf) -> Index:
    """Make and store the index; where the folder cannot be written it is held in memory.

    Raises:
        DataError: a row cannot be read, or a latent or an embedding is missing.
    """
    columns, told = index_columns(root, header, images, text)
    with suppress(DiskError, OSError):
        save_tensors(index_file(root, header), columns, {TOLD: json.dumps(told)})
    return find_index(root, header) or _index(root, header, columns, told)


def index_fault(root: Path, header: Mapping[str, Any], images: Shelf, text: Shelf) -> str | None:
    """Return what is wrong with the stored index, or None; one that is not there is made anew.

    Raises:
        DataError: as `index_columns`.
    """
    path = index_file(root, header)
    if not path.is_file():
        return None
    columns, told = index_columns(root, header, images, text)
    digest = sha256()
    for chunk in tensor_chunks(columns, {TOLD: json.dumps(told)}):
        digest.update(chunk)
    if digest.hexdigest() == file_hash(path):
        return None
    return "is not the index of these rows; delete it, it is made anew"


def index_file(root: Path, header: Mapping[str, Any]) -> Path:
    return rows_file(root, str(header["key"]), INDEX)


def index_columns(
    root: Path, header: Mapping[str, Any], images: Shelf, text: Shelf
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of an index and what they are.

    Raises:
        DataError: a row cannot be read, or a latent or an embedding is missing.
    """
    path = rows_file(root, str(header["key"]), ".jsonl")
    scan = _scan(path, images, text)
    if scan.lost:
        raise damaged(root, f"{scan.lost} latents or embeddings are missing")
    group = np.frombuffer(scan.group, dtype=np.int32)
    sizes = np.bincount(group, minlength=len(scan.groups))
    told: dict[str, Any] = {
        "format": FORMAT,
        "sha256": header["sha256"],
        "groups": [[key[0], int(size)] for key, size in zip(scan.groups, sizes, strict=True)],
        "weighted": scan.weighted,
    }
    columns = {
        "lines": torch.from_numpy(np.frombuffer(scan.lines, dtype=np.int64).copy()),
        "order": torch.from_numpy(group.argsort(kind="stable").astype(np.int32)),
    }
    for name, shelf, entries in (("images", images, scan.images), ("text", text, scan.text)):
        found, told[name] = columns_of(shelf, entries)
        columns |= {f"{name}.{column}": tensor for column, tensor in found.items()}
    return columns, told


@dataclass(kw_only=True)
class _Scan:
    """What one reading of the rows collects."""

    lines: "array[int]" = field(default_factory=lambda: array("q", [0]))
    group: "array[int]" = field(default_factory=lambda: array("i"))
    groups: dict[tuple[int, ...], int] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    text: set[str] = field(default_factory=lambda: {prompt_id("")})
    weighted: bool = False
    lost: int = 0


def _scan(path: Path, images: Shelf, text: Shelf) -> _Scan:
    scan, prompts = _Scan(), set[str]()
    with path.open("rb") as stream:
        for number, line in enumerate(stream):
            row = parse_row(line, path, number)
            scan.lines.append(scan.lines[-1] + len(line))
            scan.images.update(row.images)
            prompts.add(row.prompt)
            scan.weighted |= row.weight != 1
            first = row.images[0]
            target = images.numbers(first)[4:] if first in images else ()
            key = (len(row.images), *target)
            scan.group.append(scan.groups.setdefault(key, len(scan.groups)))
    scan.text.update(map(prompt_id, prompts))
    scan.lost = sum(each not in images for each in scan.images)
    scan.lost += sum(each not in text for each in scan.text)
    return scan


def _index(
    root: Path, header: Mapping[str, Any], columns: Mapping[str, Tensor], told: Mapping[str, Any]
) -> Index:
    at, groups = 0, list[Group]()
    order = columns["order"]
    for images, size in told["groups"]:
        groups.append(Group(images=int(images), rows=order[at : at + size]))
        at += size
    shelves = {
        name: places_of(
            root / name / str(header[folder]),
            {
                column.removeprefix(f"{name}."): tensor
                for column, tensor in columns.items()
                if column.startswith(f"{name}.")
            },
            told[name],
        )
        for name, folder in (("images", "image_folder"), ("text", "text_folder"))
    }
    return Index(
        rows=MappedRows(rows_file(root, str(header["key"]), ".jsonl"), columns["lines"]),
        groups=groups,
        weighted=bool(told["weighted"]),
        images=shelves["images"],
        text=shelves["text"],
    )


def _shelves(index: Index) -> dict[str, Places]:
    return {"images": index.images, "text": index.text}
