"""Encode what the shelves lack, a batch of one size at a time."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffpref.data.encoder import DTYPES, Encoder, StoredDtype, prompt_id
from diffpref.data.prepare import Cut
from diffpref.data.shelf import Entry, Shelf
from diffpref.data.transform import Size, to_tensor
from diffpref.errors import ConfigError


@dataclass(kw_only=True)
class Encoding:
    """Collects images and prompts, encodes full batches, and shelves all at `flush`."""

    encoder: Encoder
    images: Shelf
    text: Shelf
    dtype: StoredDtype
    batch: int
    _waiting: dict[Size, dict[str, Cut]] = field(default_factory=dict)
    _encoded: dict[str, Entry] = field(default_factory=dict)
    _prompts: dict[str, str] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        """How many images would be lost if the process died now."""
        return len(self._encoded) + sum(map(len, self._waiting.values()))

    def add(self, prompt: str, cuts: Iterable[Cut]) -> None:
        """Take the images and the prompt of a row; known ones cost nothing."""
        if prompt_id(prompt) not in self.text:
            self._prompts[prompt_id(prompt)] = prompt
        for cut in cuts:
            if cut.id in self.images or cut.id in self._encoded:
                continue
            group = self._waiting.setdefault(cut.geometry.target, {})
            group[cut.id] = cut
            if len(group) == self.batch:
                self._encode(cut.geometry.target)

    def flush(self) -> None:
        """Encode the rest and store everything; on return nothing added can be lost."""
        for target in list(self._waiting):
            self._encode(target)
        self.images.put(self._encoded)
        self._encoded = {}
        names = list(self._prompts)
        entries: dict[str, Entry] = {}
        for start in range(0, len(names), self.batch):
            entries |= self._embed(names[start : start + self.batch])
        self.text.put(entries)
        self._prompts = {}

    def _encode(self, target: Size) -> None:
        cuts = list(self._waiting.pop(target).values())
        with torch.no_grad():
            mean, std = self.encoder.encode_images(to_tensor([cut.image for cut in cuts]))
        for index, cut in enumerate(cuts):
            tensors = {"mean": self._stored(mean[index]), "std": self._stored(std[index])}
            self._encoded[cut.id] = Entry(tensors=tensors, numbers=cut.geometry.numbers)

    def _embed(self, names: list[str]) -> dict[str, Entry]:
        with torch.no_grad():
            cond = self.encoder.encode_text([self._prompts[name] for name in names])
        entries: dict[str, Entry] = {}
        for index, name in enumerate(names):
            tensors = {"text": self._stored(cond.text[index])}
            if cond.pooled is not None:
                tensors["pooled"] = self._stored(cond.pooled[index])
            entries[name] = Entry(tensors=tensors, numbers=(len(tensors) - 1,))
        return entries

    def _stored(self, tensor: Tensor) -> Tensor:
        """Copy to the CPU in the stored dtype.

        Raises:
            ConfigError: a number is not finite, or too large for the dtype.
        """
        stored = tensor.detach().to("cpu", DTYPES[self.dtype], copy=True)
        if not bool(torch.isfinite(stored).all()):
            raise ConfigError(
                f"the model's numbers do not fit into {self.dtype}",
                where="data.dtype",
                hint="choose fp32, and check that model.vae is a sound VAE",
            )
        return stored
