"""Two pictures of one prompt, as they are put to a person."""

from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from diffpref.io.images import read_image_bytes
from diffpref.rewards.heads.embeddings import content_key

ID_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An encoded picture and its content key; `content` is a file or the bytes themselves."""

    key: bytes
    content: Path | bytes = field(repr=False)

    @property
    def data(self) -> bytes:
        """The bytes of the file.

        Raises:
            BadImage: the file is gone or cannot be read.
        """
        content = self.content
        return content if isinstance(content, bytes) else read_image_bytes(content)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two different pictures of one prompt; `id` is a hash of all three."""

    id: str
    prompt: str
    first: Picture
    second: Picture
    source: str | None = None

    @property
    def pictures(self) -> tuple[Picture, Picture]:
        return self.first, self.second


def picture_of(content: Path | bytes) -> Picture:
    """Return the picture of a file or of encoded bytes.

    Raises:
        BadImage: the file cannot be read.
    """
    data = content if isinstance(content, bytes) else read_image_bytes(content)
    return Picture(key=content_key(data), content=content)


def pair_of(
    prompt: str, first: Picture, second: Picture, *, source: str | None = None, tag: str = ""
) -> Pair:
    """Return a pair; its id does not depend on the order of the pictures.

    Args:
        prompt: what both show.
        first: one picture.
        second: another one.
        source: where they are from, for the row of the vote.
        tag: tells pairs of equal pictures apart, such as those of two seeds.
    """
    total = blake2b(prompt.encode(), digest_size=ID_BYTES)
    for key in sorted((first.key, second.key)):
        total.update(b"\0" + key)
    total.update(b"\0" + tag.encode())
    return Pair(id=total.hexdigest(), prompt=prompt, first=first, second=second, source=source)
