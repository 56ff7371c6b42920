"""A cache folder: latents per image, embeddings per prompt, and the rows of each data set.

images/<key>/   a shelf of posteriors for one VAE, dtype and resolution
text/<key>/     a shelf of embeddings for one set of text encoders and dtype
rows/<key>.json, .jsonl, .bad.jsonl    one data set: what it is, its rows, its bad rows
rows/<key>.index.safetensors           where rows, latents and embeddings lie; made anew when lost
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.data.encoder import Encoder, prompt_id
from diffpref.data.index import Group, find_index, make_index
from diffpref.data.lock import Held, hold
from diffpref.data.rows import CachedRow, damaged, list_headers, rows_file
from diffpref.data.shelf import Readable, Shelf, file_hash, open_shelf
from diffpref.errors import DataError, nearest
from diffpref.types import Conditioning


@dataclass(frozen=True, kw_only=True)
class Cache:
    """One cached data set, open for reading. Rows are numbered by their place in `rows`.

    `header` says what it was made from; `fingerprint` changes when a row or a setting changes.
    `groups` are rows that can share a window; `weighted` says whether a row has a weight other
    than 1.
    """

    root: Path
    header: Mapping[str, Any] = field(repr=False)
    rows: Sequence[CachedRow] = field(repr=False)
    images: Readable
    text: Readable
    groups: Sequence[Group] = field(repr=False)
    weighted: bool
    fingerprint: str
    _lock: Held | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def bad_rows(self) -> Path:
        """The jsonl file of the rows that were left out, with file, line, code and reason."""
        return rows_file(self.root, str(self.header["key"]), ".bad.jsonl")

    @property
    def report(self) -> Mapping[str, Any]:
        """The counts of `diffpref.data.report.Report`, as written when the cache was made."""
        return self.header["report"]

    def posterior(
        self, row: CachedRow
    ) -> tuple[Float[Tensor, "k c h w"], Float[Tensor, "k c h w"]]:
        """Return the mean and standard deviation of a row's scaled latents, in float32."""
        means = [self.images.read(entry, "mean") for entry in row.images]
        stds = [self.images.read(entry, "std") for entry in row.images]
        return torch.stack(means).float(), torch.stack(stds).float()

    def geometry(self, row: CachedRow) -> Int[Tensor, "k 6"]:
        """Return original size, crop and target size of a row's images, in pixels."""
        return torch.tensor([self.images.numbers(entry) for entry in row.images])

    def sizes(self) -> list[tuple[int, int]]:
        """Return the heights and widths images were cut to, in pixels, in order of first sight."""
        targets = (self.images.numbers(row.images[0])[4:] for row in self.rows)
        return list(dict.fromkeys((int(height), int(width)) for height, width in targets))

    def conditioning(self, prompts: Sequence[str]) -> Conditioning:
        """Return the embeddings of cached prompts, or of "", in float32."""
        names = [prompt_id(prompt) for prompt in prompts]
        pooled = [self.text.read(name, "pooled") for name in names if self._pooled(name)]
        return Conditioning(
            text=torch.stack([self.text.read(name, "text") for name in names]).float(),
            pooled=torch.stack(pooled).float() if pooled else None,
        )

    def require(self, encoder: Encoder) -> None:
        """Check that the cache was made with this model.

        Raises:
            DataError: the VAE or the text encoders are others.
        """
        made = {"vae": self.header["images"]["vae"], "text": self.header["text"]["text"]}
        other = [part for part, print_ in made.items() if encoder.fingerprints[part] != print_]
        if other:
            raise DataError(
                f"was made with another model ({', '.join(other)} differ)",
                where=str(self.root),
                hint="run `diffpref data cache` with the model of this run",
            )

    def close(self) -> None:
        """Let others prune the cache."""
        if self._lock is not None:
            self._lock.close()

    def _pooled(self, name: str) -> bool:
        return bool(self.text.numbers(name)[0])


def open_cache(root: Path, name: str | None = None) -> Cache:
    """Open a cached data set; `name` is its source or key and may be absent if there is only one.

    Raises:
        DataError: there is no such data set, or a part of it is missing.
    """
    lock = hold(root / ".lock") if (root / "rows").is_dir() else None
    headers = list_headers(root)
    wanted = [each for each in headers if name in {None, each["name"], each["key"]}]
    if len(wanted) != 1:
        raise _not_one(root, name, headers, wanted)
    return open_rows(root, wanted[0], lock)


def open_rows(root: Path, header: Mapping[str, Any], lock: Held | None = None) -> Cache:
    """Open the data set of a header.

    Raises:
        DataError: the rows were changed, or a latent or an embedding is missing.
    """
    key = str(header["key"])
    path = rows_file(root, key, ".jsonl")
    if not path.is_file() or file_hash(path) != header["sha256"]:
        raise damaged(path, "is missing or was changed")
    index = find_index(root, header)
    if index is None:
        images = open_shelf(root / "images" / str(header["image_folder"]))
        text = open_shelf(root / "text" / str(header["text_folder"]))
        index = make_index(root, header, images, text)
    with suppress(OSError):
        os.utime(rows_file(root, key, ".json"))  # what was used last is pruned last
    return Cache(
        root=root,
        header=header,
        rows=index.rows,
        images=index.images,
        text=index.text,
        groups=index.groups,
        weighted=index.weighted,
        fingerprint=_fingerprint(header),
        _lock=lock,
    )


def _fingerprint(header: Mapping[str, Any]) -> str:
    """Return a hash of the rows and of how they were encoded, wherever their files lay."""
    parts = [str(header[name]) for name in ("sha256", "image_folder", "text_folder")]
    return blake2b("/".join(parts).encode(), digest_size=16).hexdigest()


def missing_entries(rows: Sequence[CachedRow], images: Shelf, text: Shelf) -> set[str]:
    """Return the ids that the rows need and the shelves lack."""
    lost = {entry for row in rows for entry in row.images if entry not in images}
    names = {prompt_id(prompt) for prompt in {row.prompt for row in rows} | {""}}
    return lost | {name for name in names if name not in text}


def _not_one(
    root: Path, name: str | None, headers: list[dict[str, Any]], wanted: list[dict[str, Any]]
) -> DataError:
    if not headers:
        hint = f"make one: diffpref data cache SOURCE --out {root}"
        return DataError("there is no finished cache here", where=str(root), hint=hint)
    names = [str(each["key"] if wanted else each["name"]) for each in headers]
    what = f"holds {len(wanted)} data sets, choose one" if wanted else f"holds no '{name}'"
    return DataError(what, where=str(root), hint=nearest(name or names[0], names))
