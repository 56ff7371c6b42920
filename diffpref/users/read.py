"""One person's votes as evidence: read, embedded, and measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL.Image import Image
from torch import Tensor

from diffpref.data.readers import RecordSource, open_records
from diffpref.data.readers.reader import Ask
from diffpref.data.records import BadRow, Row
from diffpref.data.votes import read_votes
from diffpref.errors import DataError, UsageError, nearest
from diffpref.io import BadImage, open_image
from diffpref.io.images import read_image_bytes
from diffpref.rewards.heads.embeddings import EmbeddingStore, content_key
from diffpref.rewards.heads.pairs import Pairs
from diffpref.rewards.scorer import Progress
from diffpref.users.evidence import Evidence, evidence_of
from diffpref.users.prior import Prior
from diffpref.users.words import attributes_of

NO_PROMPT = ""
"""The prompt of a picture whose prompt is not known; then the scorer's own score says nothing."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A person's votes, and what a reader should be told about them."""

    votes: Evidence
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_person(
    prior: Prior,
    source: str,
    store: EmbeddingStore,
    *,
    user: str | None = None,
    format: str | None = None,
    split: str = "train",
    progress: Progress | None = None,
) -> Told:
    """Read the votes of one person from a data set.

    Args:
        prior: whose features describe the pictures.
        source: any source of votes, such as a .jsonl file that `rate` wrote.
        store: keeps the embeddings.
        user: whose votes; needed where several people voted.
        format: of the source, if it is not to be recognised.
        split: part of the source, for sources that have several.
        progress: told while pictures are embedded.

    Raises:
        DataError: nothing can be used.
        UsageError: several people voted and none is named, or this one did not.
    """
    records = open_records(source, format=format, split=split)
    check_user(records, user)
    mine = records if user is None else only(records, user)
    found = read_votes({split: mine}, store, progress=progress)
    pairs = found.pairs
    notes = tuple(f"{len(found.bad)} rows could not be used" for _ in found.bad[:1])
    votes = evidence_of(prior, pairs, _looks(mine, pairs))
    if len(votes) < len(pairs):
        notes += (f"{len(pairs) - len(votes)} votes were given twice and count once",)
    return Told(votes=votes, sources=("pairs",), notes=notes)


def embedded_files(
    files: Sequence[Path], texts: Sequence[str], store: EmbeddingStore
) -> tuple[list[bytes], dict[bytes, Image]]:
    """Embed picture files and their prompts; return their keys and the decoded pictures.

    Raises:
        DataError: a picture cannot be read.
    """
    keys, pictures = [], dict[bytes, Image]()
    for file in files:
        try:
            data = read_image_bytes(file)
            keys.append(content_key(data))
            pictures[keys[-1]] = open_image(data, where=str(file))
        except (BadImage, OSError) as error:
            what, hint = f"cannot be read: {error}", "leave it out"
            raise DataError(what, where=str(file), hint=hint) from error
    with store:
        store.add_images(pictures)
        store.add_prompts(list(texts))
    return keys, pictures


def only(source: RecordSource, user: str) -> RecordSource:
    """Return a source that has the rows of one person, and bad rows."""
    plain = source.reader

    def rows(place: str, ask: Ask) -> Iterator[Row]:
        for row in plain.rows(place, ask):
            if isinstance(row, BadRow) or row.user == user:
                yield row

    def count(place: str, ask: Ask) -> int | None:
        del place, ask
        return None

    return replace(source, reader=replace(plain, rows=rows, count=count))


def check_user(source: RecordSource, user: str | None) -> None:
    """Refuse a source of several people's votes of which none is named, or a name without votes.

    Raises:
        UsageError: says who voted.
    """
    names = {row.user for row in source.rows(pixels=False) if not isinstance(row, BadRow)}
    known = sorted(name for name in names if name is not None)
    if user is None and len(names) > 1:
        hint = f"name one with --user; {', '.join(known)[:200]}"
        raise UsageError(f"{len(names)} people voted in it", where=source.name, hint=hint)
    if user is not None and user not in names:
        hint = nearest(user, known)[:300] if known else "its rows name nobody: leave --user out"
        raise UsageError(f"has no votes of '{user}'", where=source.name, hint=hint)


def _looks(source: RecordSource, pairs: Pairs) -> dict[bytes, Tensor]:
    """Measure the attributes of every picture in use."""
    wanted, found = set(pairs.keys), dict[bytes, Tensor]()
    for row in source.rows():
        if isinstance(row, BadRow):
            continue
        for image in row.images:
            content = image.content
            data = content if isinstance(content, bytes) else read_image_bytes(content)
            key = content_key(data)
            if key in wanted and key not in found:
                found[key] = attributes_of(open_image(data, where=row.where))
    return found
