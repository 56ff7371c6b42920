"""Images into the folder structure that a benchmark's own evaluator reads."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from diffpref.errors import DataError, UsageError
from diffpref.evaluate.benchmarks.benchmark import Item, Layout
from diffpref.io import BadPath, new_path, png_bytes, write_atomic

if TYPE_CHECKING:
    import PIL.Image


def image_paths(layout: Layout, items: Sequence[Item], n: int, root: Path) -> list[list[Path]]:
    """Return the image files of every item, before any is made.

    Raises:
        UsageError: the evaluator cannot read n images per prompt.
        DataError: a prompt or an id cannot be a file name, or two are the same.
    """
    if layout.allowed and n not in layout.allowed:
        allowed = " or ".join(map(str, layout.allowed))
        hint = f"--n {layout.published} is what published numbers use"
        raise UsageError(f"this layout has {allowed} per prompt, not {n}", where="--n", hint=hint)
    found = [[_place(root, name) for name in layout.names(item, n)] for item in items]
    flat = [path for paths in found for path in paths]
    if len(set(flat)) < len(flat):
        twice = next(path for path in flat if flat.count(path) > 1)
        raise DataError("two prompts have this id", where=twice.name, hint="rename one of them")
    return found


@dataclass(kw_only=True)
class Exporter:
    """Writes images as they come; those of a layout that joins wait until their prompt has all.

    `paths` are those of `image_paths`.
    """

    layout: Layout
    items: Sequence[Item]
    n: int
    root: Path
    paths: Sequence[Sequence[Path]]
    waiting: "dict[int, dict[int, tuple[PIL.Image.Image, Mapping[str, str]]]]" = field(
        default_factory=dict
    )

    def put(
        self, p: int, k: int, picture: "PIL.Image.Image", told: Mapping[str, str]
    ) -> Path | None:
        """Take image k of prompt p; return the file that is now written, if any.

        Args:
            p: number of the prompt among the items.
            k: number of the image, 0 to n - 1.
            picture: the image.
            told: how it was made, kept in the file: as PNG texts, or as JSON in a JPEG comment.

        Raises:
            DataError: the picture does not fit the layout.
        """
        if k == 0:
            for name, text in self.layout.notes(self.items[p]).items():
                _write(_place(self.root, name), text)
        if self.layout.join is None:
            return _write(self.paths[p][k], encode(picture, self.paths[p][k].suffix, told))
        held = self.waiting.setdefault(p, {})
        held[k] = picture, told
        if len(held) < self.n:
            return None
        del self.waiting[p]
        whole = self.layout.join([held[each][0] for each in range(self.n)])
        texts = _joined([held[each][1] for each in range(self.n)])
        return _write(self.paths[p][0], encode(whole, self.paths[p][0].suffix, texts))


def encode(picture: "PIL.Image.Image", ending: str, texts: Mapping[str, str]) -> bytes:
    """Return a file of the kind its ending says; JPEG with Pillow's default quality of 75."""
    if ending == ".png":
        return png_bytes(picture, dict(texts))
    buffer = BytesIO()
    comment = json.dumps(dict(texts), ensure_ascii=False).encode()
    picture.save(buffer, format="JPEG", comment=comment)
    return buffer.getvalue()


def _joined(told: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the texts of several images as one: what differs stands side by side."""
    return {key: ",".join(dict.fromkeys(each[key] for each in told)) for key in told[0]}


def _write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    return path


def _place(root: Path, name: str) -> Path:
    try:
        return new_path(root, name)
    except BadPath as error:
        hint = "the layout names files by prompt or id: leave this prompt out, or shorten it"
        raise DataError(error.reason, where=name[:80], hint=hint) from error
