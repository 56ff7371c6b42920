"""Votes of a data set as embedded pairs: every two images of a row, embedded once each."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import combinations, islice

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.data.readers import RecordSource
from diffpref.data.records import BadRow, ImageRef, Record
from diffpref.errors import DataError
from diffpref.io import BadImage, open_image
from diffpref.io.images import read_image_bytes
from diffpref.rewards.heads.embeddings import EmbeddingStore, content_key
from diffpref.rewards.heads.extras import ExtraStore
from diffpref.rewards.heads.pairs import NOBODY, Pairs
from diffpref.rewards.inputs import AnyImage
from diffpref.rewards.scorer import Progress

CHUNK = 64
"""Rows whose pictures are in memory together."""


@dataclass(frozen=True, kw_only=True)
class Votes:
    """Embedded pairs, the part of the source each came from, and what could not be used."""

    pairs: Pairs
    parts: tuple[str, ...]
    bad: tuple[str, ...]


@dataclass
class Collected:
    """Pairs being collected: the names seen, each with its place, and rows that point to them.

    A picture of two prompts is there once for each.
    """

    images: dict[tuple[bytes, int], int] = field(default_factory=dict)
    prompts: dict[str, int] = field(default_factory=dict)
    people: dict[str, int] = field(default_factory=dict)
    rows: list[tuple[int, int, int, int, float, float]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)


def read_votes(
    sources: Mapping[str, RecordSource],
    store: EmbeddingStore,
    extras: Sequence[ExtraStore] = (),
    *,
    progress: Progress | None = None,
) -> Votes:
    """Read and embed the votes of one source in its parts.

    A row of two images is one pair; a row of k images is every two of them. A pair's share is the
    first one's score where two scores have sum 1, else 1, 0, or 1/2 for equal scores.

    Args:
        sources: the parts of the source by name.
        store: where embeddings are kept; saved also when interrupted.
        extras: where further features are kept; their columns follow the embeddings.
        progress: told after every few rows.

    Raises:
        DataError: nothing is left.
    """
    found, bad, done = Collected(), [], 0
    total = _total(sources)
    with ExitStack() as stack:
        for each in {id(s): s for s in (store, *(extra.store for extra in extras))}.values():
            stack.enter_context(each)
        for part, source in sources.items():
            rows = source.rows()
            while chunk := list(islice(rows, CHUNK)):
                records = [row for row in chunk if not isinstance(row, BadRow)]
                bad += [str(row) for row in chunk if isinstance(row, BadRow)]
                for record, keys in _embedded(records, store, extras, bad):
                    collect(found, record, keys, part)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    if not found.rows:
        raise no_pairs(sources, bad)
    texts = list(found.prompts)
    items = [(key, texts[prompt]) for key, prompt in found.images]
    columns = [store.images([key for key, _ in items]), *(each.rows(items) for each in extras)]
    pairs = to_pairs(found, torch.cat(columns, dim=1), store.prompts(texts))
    return Votes(pairs=pairs, parts=tuple(found.parts), bad=tuple(bad))


def _total(sources: Mapping[str, RecordSource]) -> int | None:
    counts = [source.count() for source in sources.values()]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _embedded(
    records: Sequence[Record],
    store: EmbeddingStore,
    extras: Sequence[ExtraStore],
    bad: list[str],
) -> Iterator[tuple[Record, list[bytes]]]:
    """Yield the records whose images can be read, with their keys, once all are embedded."""
    opened: dict[bytes, AnyImage] = {}
    kept: list[tuple[Record, list[bytes]]] = []
    for record in records:
        try:
            files = [_bytes(image) for image in record.images]
            keys = [content_key(data) for data in files]
            items = [(key, record.prompt) for key in keys]
            wanted = {key for extra in extras for key, _ in extra.missing(items)}
            for key in wanted.union(store.missing(keys)):
                opened[key] = open_image(files[keys.index(key)], where=record.where)
            kept.append((record, keys))
        except BadImage as error:
            bad.append(f"{record.where}: {error.code}: {error.reason}")
    store.add_images({key: opened[key] for key in store.missing(list(opened))})
    store.add_prompts([record.prompt for record, _ in kept])
    asked = [(key, record.prompt) for record, keys in kept for key in keys]
    for extra in extras:
        extra.add([(key, prompt, opened[key]) for key, prompt in extra.missing(asked)])
    yield from kept


def _bytes(image: ImageRef) -> bytes:
    content = image.content
    return content if isinstance(content, bytes) else read_image_bytes(content)


def collect(found: Collected, record: Record, keys: Sequence[bytes], part: str) -> None:
    """Add every two different pictures of a record, whose names are `keys`."""
    prompt = found.prompts.setdefault(record.prompt, len(found.prompts))
    person = NOBODY
    if record.user is not None:
        person = found.people.setdefault(record.user, len(found.people))
    for one, two in combinations(range(len(keys)), 2):
        if keys[one] == keys[two]:
            continue
        first = found.images.setdefault((keys[one], prompt), len(found.images))
        second = found.images.setdefault((keys[two], prompt), len(found.images))
        share = _share(record.scores, one, two)
        found.rows.append((prompt, first, second, person, share, record.weight))
        found.parts.append(part)


def _share(scores: Sequence[float], one: int, two: int) -> float:
    first, second = scores[one], scores[two]
    if len(scores) == 2 and 0 <= first <= 1 and abs(first + second - 1) < 1e-6:
        return first
    return (first > second) + 0.5 * (first == second)


def to_pairs(
    found: Collected, images: Float[Tensor, "i d"], prompts: Float[Tensor, "p e"]
) -> Pairs:
    """Return what was collected as pairs over two tables, in the order names were first seen."""
    columns = list(zip(*found.rows, strict=True))
    return Pairs(
        images=images,
        prompts=prompts,
        keys=tuple(key for key, _ in found.images),
        texts=tuple(found.prompts),
        prompt=torch.tensor(columns[0]),
        first=torch.tensor(columns[1]),
        second=torch.tensor(columns[2]),
        person=torch.tensor(columns[3]),
        people=tuple(found.people),
        share=torch.tensor(columns[4]),
        weight=torch.tensor(columns[5]),
    )


def no_pairs(sources: Mapping[str, RecordSource], bad: Sequence[str]) -> DataError:
    """Return the error of a source without a usable pair."""
    name = next((source.name for source in sources.values()), "")
    hint = "; ".join(["votes need rows of two or more images", *bad[:3]])
    return DataError("no pairs could be used", where=name, hint=hint)
