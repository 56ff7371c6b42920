"""The "show me" button: pictures for a profile, made in a thread while rating goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import getLogger
from threading import Lock, Thread
from typing import Any, Protocol, runtime_checkable

from PIL.Image import Image

from diffpref.errors import DiffprefError
from diffpref.rate.gallery import Gallery
from diffpref.users.profile import UserProfile

Tell = Callable[[int, int | None], None]
"""(done, of how many)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Pictures made in one way, with a title that says how."""

    title: str
    pictures: Sequence[Image]


@runtime_checkable
class Show(Protocol):
    """Makes pictures of a prompt for a person: rows, the personal one first.

    It is called from one thread at a time, never from the one that answers the page.
    """

    def __call__(self, profile: UserProfile, prompt: str, tell: Tell, /) -> Sequence[Row]: ...


class Stage:
    """At most one showing at a time, and the last one's pictures."""

    def __init__(self, show: Show | None, gallery: Gallery) -> None:
        self._show, self._gallery = show, gallery
        self._lock = Lock()
        self._thread: Thread | None = None
        self._busy, self._hung = False, list[str]()
        self._about: dict[str, Any] = {"rows": [], "prompt": "", "pairs": 0, "fault": None}
        self._done: tuple[int, int | None] = (0, None)

    def plain(self) -> dict[str, Any] | None:
        """Return what the page shows; None without a model."""
        if self._show is None:
            return None
        done, total = self._done
        return {**self._about, "busy": self._busy, "done": done, "total": total}

    def begin(self, profile: UserProfile, prompt: str) -> bool:
        """Start a showing; say whether it could be started."""
        with self._lock:
            if self._show is None or self._busy:
                return False
            self._busy, self._done = True, (0, None)
        args = (self._show, profile, prompt)
        self._thread = Thread(target=self._work, args=args, name="show", daemon=True)
        self._thread.start()
        return True

    def wait(self) -> None:
        """Wait until nothing is being made."""
        if self._thread is not None:
            self._thread.join()

    def _work(self, show: Show, profile: UserProfile, prompt: str) -> None:
        rows: list[dict[str, Any]] = []
        hung, fault = list[str](), None
        try:
            for row in show(profile, prompt, self._tell):
                names = [self._gallery.hang(picture) for picture in row.pictures]
                hung += names
                rows.append({"title": row.title, "pictures": [f"image/{n}" for n in names]})
        except Exception as error:
            # The page waits for this thread: whatever happened is said there.
            fault = str(error) if isinstance(error, DiffprefError) else repr(error)
            getLogger(__name__).error("no pictures could be shown: %s", fault)
        self._about = {"rows": rows, "prompt": prompt, "pairs": profile.pairs, "fault": fault}
        old, self._hung, self._busy = self._hung, hung, False
        for name in old:
            self._gallery.take_down(name)

    def _tell(self, done: int, total: int | None) -> None:
        self._done = (done, total)
