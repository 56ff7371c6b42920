"""Pictures by opaque names: what a browser asks for is looked up, never opened as a path."""

from collections import OrderedDict
from secrets import token_urlsafe
from threading import Lock

from PIL.Image import Image

from diffpref.io import open_image, png_bytes
from diffpref.rate.pair import Picture

KEPT = 24
"""Encoded pictures kept in memory."""


class Gallery:
    """Gives pictures random names for one session and serves them by these names only."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}
        self._sources: dict[str, Picture | Image] = {}
        self._shots: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    def name(self, picture: Picture) -> str:
        """Return the name of a picture, the same whenever it is asked for."""
        with self._lock:
            if picture.key not in self._names:
                self._names[picture.key] = self._new(picture)
            return self._names[picture.key]

    def hang(self, image: Image) -> str:
        """Return the name of a picture that is in no file."""
        with self._lock:
            return self._new(image)

    def take_down(self, name: str) -> None:
        """Forget a picture that `hang` named."""
        with self._lock:
            self._sources.pop(name, None)
            self._shots.pop(name, None)

    def shot(self, name: str) -> bytes | None:
        """Return a PNG by its name, or None if there is none of this name.

        It carries no metadata, so that nothing tells who made the picture.

        Raises:
            BadImage: its file cannot be used any more.
        """
        source = self._sources.get(name)
        if source is None:
            return None
        with self._lock:
            if name in self._shots:
                self._shots.move_to_end(name)
                return self._shots[name]
        found = _shot(source)
        with self._lock:
            self._shots[name] = found
            while len(self._shots) > KEPT:
                self._shots.popitem(last=False)
        return found

    def _new(self, source: Picture | Image) -> str:
        name = token_urlsafe(12)
        self._sources[name] = source
        return name


def _shot(source: Picture | Image) -> bytes:
    image = open_image(source.data, where="a picture") if isinstance(source, Picture) else source
    return png_bytes(image, {})
