"""What the cache needs of a model, and how latents are named on disk."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from json import dumps
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.types import Conditioning, Latents

CACHE_FORMAT = 1
"""Version of everything below a cache folder; part of every key."""

StoredDtype = Literal["fp16", "bf16", "fp32"]
DTYPES: Mapping[str, torch.dtype] = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
}


@runtime_checkable
class Encoder(Protocol):
    """The frozen halves of a model: images to posteriors, prompts to conditioning.

    `fingerprints` has the hashes of the weights under "vae" and "text"; `resolution` is the side
    in pixels the model was made for.
    """

    @property
    def fingerprints(self) -> Mapping[str, str]: ...

    @property
    def vae_factor(self) -> int: ...

    @property
    def resolution(self) -> int: ...

    def encode_images(self, pixels: Float[Tensor, "n 3 y x"]) -> tuple[Latents, Latents]: ...

    def encode_text(self, prompts: Sequence[str]) -> Conditioning: ...


def image_key(encoder: Encoder, resolution: int, dtype: StoredDtype) -> dict[str, str | int]:
    """Return what latents depend on besides the pixels and their crop."""
    return {
        "format": CACHE_FORMAT,
        "vae": encoder.fingerprints["vae"],
        "dtype": dtype,
        "resolution": resolution,
    }


def text_key(encoder: Encoder, dtype: StoredDtype) -> dict[str, str | int]:
    """Return what text embeddings depend on besides the prompt."""
    return {"format": CACHE_FORMAT, "text": encoder.fingerprints["text"], "dtype": dtype}


def folder_name(key: Mapping[str, str | int]) -> str:
    """Return the name of the folder of a key."""
    return blake2b(dumps(dict(key), sort_keys=True).encode(), digest_size=8).hexdigest()


def prompt_id(prompt: str) -> str:
    """Return the name of a prompt's embeddings."""
    return blake2b(prompt.encode(), digest_size=16).hexdigest()
