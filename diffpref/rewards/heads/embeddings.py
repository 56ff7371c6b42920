"""Embeddings and scores computed once, kept in one file per scorer and its weights."""

import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from json import dumps
from pathlib import Path
from re import sub

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import DataError
from diffpref.io import load_weights, save_tensors
from diffpref.rewards.info import ScorerInfo
from diffpref.rewards.inputs import AnyImage
from diffpref.rewards.scorer import LoadedScorer

KEY_BYTES = 16
TABLES = ("images", "prompts", "scores")


def fingerprint(info: ScorerInfo) -> str:
    """Return a hash of what decides an embedding: the scorer, its weights, how it reads."""
    weights = [(each.layout, each.sha256) for each in info.weights]
    what = [info.id, weights, info.preprocess_id, info.tokenizer_id]
    return blake2b(dumps(what).encode(), digest_size=16).hexdigest()


def content_key(data: bytes) -> bytes:
    """Return the name of a picture by its file's bytes, or of a prompt by its UTF-8."""
    return blake2b(data, digest_size=KEY_BYTES).digest()


class EmbeddingStore:
    """What one scorer makes of pictures and prompts, on disk and in memory.

    The file is replaced as a whole every `save_every` seconds of work, and at the end or when
    interrupted, so that an extraction that is run again goes on where it was.
    """

    def __init__(
        self, folder: Path | str, scorer: LoadedScorer, *, batch: int = 64, save_every: float = 30.0
    ) -> None:
        """Open or begin the file of this scorer.

        Raises:
            DataError: the file is damaged.
        """
        name = sub(r"[^A-Za-z0-9.]+", "-", scorer.info.id).strip("-")
        self.fingerprint = fingerprint(scorer.info)
        self.path = Path(folder) / f"embeddings-{name}-{self.fingerprint[:12]}.safetensors"
        self._scorer, self._batch, self._save_every = scorer, batch, save_every
        self._keys: dict[str, dict[bytes, int]] = {table: {} for table in TABLES}
        self._rows: dict[str, list[Tensor]] = {table: [] for table in TABLES}
        self._saved_at, self._dirty = time.monotonic(), False
        if self.path.exists():
            self._load()

    @property
    def width(self) -> int:
        """Return how many numbers an image embedding has; one must be here."""
        return len(self._rows["images"][0])

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return the pictures that are not here yet, each once."""
        return [key for key in dict.fromkeys(keys) if key not in self._keys["images"]]

    def add_images(self, images: Mapping[bytes, AnyImage]) -> None:
        """Embed decoded pictures under their keys; those that are here are left alone."""
        wanted = self.missing(list(images))
        for start in range(0, len(wanted), self._batch):
            part = wanted[start : start + self._batch]
            found = self._scorer.embed_images([images[key] for key in part], batch_size=self._batch)
            self._keep("images", part, found)

    def add_prompts(self, texts: Sequence[str]) -> None:
        """Embed prompts; those that are here are left alone."""
        new = {content_key(text.encode()): text for text in texts}
        wanted = [key for key in new if key not in self._keys["prompts"]]
        for start in range(0, len(wanted), self._batch):
            part = wanted[start : start + self._batch]
            self._keep("prompts", part, self._scorer.embed_prompts([new[key] for key in part]))

    def unscored(self, items: Sequence[tuple[bytes, str]]) -> list[tuple[bytes, str]]:
        """Return the pictures, with their prompts, that have no score yet, each once."""
        return [
            item
            for item in dict.fromkeys(items)
            if self._score_key(*item) not in self._keys["scores"]
        ]

    def add_scores(self, items: Sequence[tuple[bytes, str, AnyImage]]) -> None:
        """Score decoded pictures for their prompts; those that are here are left alone."""
        new = {(key, prompt): image for key, prompt, image in items}
        # A scorer that reads no prompt scores a picture once, whatever it was asked for.
        once = {self._score_key(*item): item for item in self.unscored(list(new))}
        wanted = list(once.values())
        for start in range(0, len(wanted), self._batch):
            part = wanted[start : start + self._batch]
            pictures, prompts = [new[item] for item in part], [prompt for _, prompt in part]
            found = self._scorer.score(pictures, prompts, batch_size=self._batch).values
            self._keep("scores", [self._score_key(*item) for item in part], found[:, None])

    def images(self, keys: Sequence[bytes]) -> Float[Tensor, "n d"]:
        """Return the embeddings of pictures that were added, float32."""
        return self._take("images", keys)

    def prompts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return the embeddings of prompts that were added, float32."""
        return self._take("prompts", [content_key(text.encode()) for text in texts])

    def scores(self, items: Sequence[tuple[bytes, str]]) -> Float[Tensor, "n 1"]:
        """Return the scores of pictures, with their prompts, that were added, float32."""
        return self._take("scores", [self._score_key(*item) for item in items])

    def save(self) -> None:
        """Write the file if anything is new.

        Raises:
            DiskError: the folder cannot be written; the old file is intact.
        """
        if not self._dirty:
            return
        tensors: dict[str, Tensor] = {}
        for table in TABLES:
            if self._rows[table]:
                joined = b"".join(self._keys[table])
                keys = torch.frombuffer(bytearray(joined), dtype=torch.uint8)
                tensors[table] = torch.stack(self._rows[table])
                tensors[f"{table}.keys"] = keys.view(-1, KEY_BYTES)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(self.path, tensors)
        self._saved_at, self._dirty = time.monotonic(), False

    def __enter__(self) -> "EmbeddingStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def _score_key(self, key: bytes, prompt: str) -> bytes:
        return content_key(key + prompt.encode()) if self._scorer.info.needs_prompt else key

    def _keep(self, table: str, keys: Sequence[bytes], found: Float[Tensor, "n d"]) -> None:
        for key, row in zip(keys, found, strict=True):
            self._keys[table][key] = len(self._rows[table])
            self._rows[table].append(row)
        self._dirty = True
        if time.monotonic() - self._saved_at >= self._save_every:
            self.save()

    def _take(self, table: str, keys: Sequence[bytes]) -> Float[Tensor, "n d"]:
        return torch.stack([self._rows[table][self._keys[table][key]] for key in keys])

    def _load(self) -> None:
        hint = "delete it: the embeddings are then computed again"
        try:
            tensors = load_weights(self.path)
        except DataError as error:
            raise DataError(error.what, where=str(self.path), hint=hint) from error
        for table in TABLES:
            if table not in tensors:
                continue
            keys = tensors.get(f"{table}.keys")
            if keys is None or keys.shape != (len(tensors[table]), KEY_BYTES):
                what = f"its {table} and their keys do not match"
                raise DataError(what, where=str(self.path), hint=hint)
            self._rows[table] = list(tensors[table])
            self._keys[table] = {bytes(row.tolist()): n for n, row in enumerate(keys)}
