"""States of sets of choices, each computed once: in memory and in parts on the disk.

The disk holds numbers under hashes: no picture, no prompt, no name.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import count
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.data.support import SupportPair
from diffpref.errors import DataError
from diffpref.io import load_weights, save_tensors
from diffpref.users.vlm.reader import VlmReader
from diffpref.users.vlm.reading import Choice, question_digest

if TYPE_CHECKING:
    from PIL.Image import Image

KEY_BYTES = 16
SAVE_EVERY = 60.0

Progress = Callable[[int, int | None], None]


def identity_of(reader: VlmReader) -> str:
    """Return a hash of what decides a state: weights, layout, question and what is read."""
    what = [reader.layout, reader.weights, question_digest(), reader.reading.plain]
    return blake2b(dumps(what, sort_keys=True).encode(), digest_size=16).hexdigest()


class States:
    """What one reader makes of sets of choices.

    Every `save_every` seconds of work a new part is written beside the others, so that a stopped
    run goes on where it was.
    """

    def __init__(
        self,
        reader: VlmReader,
        pictures: "Callable[[str], Image] | Mapping[str, Image]",
        folder: Path | None = None,
        *,
        batch: int = 1,
        save_every: float = SAVE_EVERY,
    ) -> None:
        """Open what is known already.

        Args:
            reader: whose states.
            pictures: by hash of their pixels.
            folder: where states are kept; None keeps them in memory.
            batch: sets read at once.
            save_every: seconds.

        Raises:
            DataError: a part is damaged.
        """
        self.reader, self._batch, self._save_every = reader, batch, save_every
        self._pictures = pictures if callable(pictures) else pictures.__getitem__
        self._folder = None if folder is None else folder / f"vlm-{identity_of(reader)[:16]}"
        self._known: dict[bytes, Tensor] = {}
        self._new: dict[bytes, Tensor] = {}
        self._saved_at = time.monotonic()
        for path in sorted(self._folder.glob("*.safetensors")) if self._folder else ():
            self._load(path)

    def __call__(self, support: Sequence[SupportPair]) -> Float[Tensor, " d"]:
        """Return the state of one set of choices; their order is part of it."""
        key = _key(support)
        if key not in self._known:
            self.fill([support])
        return self._known[key]

    def fill(
        self, supports: Sequence[Sequence[SupportPair]], progress: Progress | None = None
    ) -> None:
        """Compute the states that are not known yet."""
        wanted = {_key(each): each for each in supports}
        wanted = {key: each for key, each in wanted.items() if key not in self._known}
        keys = list(wanted)
        if not keys:
            return
        try:
            with self.reader.at_work():
                for start in range(0, len(keys), self._batch):
                    self._read({key: wanted[key] for key in keys[start : start + self._batch]})
                    if progress is not None:
                        progress(min(start + self._batch, len(keys)), len(keys))
        finally:
            self.save()

    def _read(self, part: Mapping[bytes, Sequence[SupportPair]]) -> None:
        people = [[self._choice(pair) for pair in each] for each in part.values()]
        found = self.reader.read(people, batch=self._batch)
        self._new.update(zip(part, found, strict=True))
        self._known.update(zip(part, found, strict=True))
        if time.monotonic() - self._saved_at >= self._save_every:
            self.save()

    def save(self) -> None:
        """Write what is new as one more part.

        Raises:
            DiskError: the folder cannot be written.
        """
        if self._folder is None or not self._new:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        taken = {path.name for path in self._folder.glob("*.safetensors")}
        name = next(n for n in (f"part-{i:05d}.safetensors" for i in count()) if n not in taken)
        keys = torch.frombuffer(bytearray(b"".join(self._new)), dtype=torch.uint8)
        tensors = {"states": torch.stack(list(self._new.values()))}
        save_tensors(self._folder / name, tensors | {"keys": keys.view(-1, KEY_BYTES)})
        self._new, self._saved_at = {}, time.monotonic()

    def _choice(self, pair: SupportPair) -> Choice:
        chosen, rejected = map(self._pictures, pair.images)
        return Choice(prompt=pair.prompt, chosen=chosen, rejected=rejected)

    def _load(self, path: Path) -> None:
        stored = load_weights(path)
        keys, states = stored.get("keys"), stored.get("states")
        if keys is None or states is None or keys.shape != (len(states), KEY_BYTES):
            hint = "delete it: its states are then computed again"
            raise DataError("its states and their keys do not match", where=str(path), hint=hint)
        rows = zip(keys, states, strict=True)
        self._known.update({bytes(key.tolist()): state for key, state in rows})


def _key(support: Sequence[SupportPair]) -> bytes:
    told = dumps([[pair.prompt, *pair.images] for pair in support])
    return blake2b(told.encode(), digest_size=KEY_BYTES).digest()
