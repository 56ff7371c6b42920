"""Randomness as a function: every draw depends only on (seed, position, image, stream)."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

RNG_SCHEME = 1
"""Version of the derivation below; recorded in every checkpoint, bumped when it changes."""


def generator(seed: int, position: int, stream: str, image: int = -1) -> Generator:
    """Return a fresh CPU generator keyed by (seed, position, stream, image)."""
    key = f"{RNG_SCHEME}/{seed}/{position}/{image}/{stream}".encode()
    return torch.Generator().manual_seed(int.from_bytes(blake2b(key, digest_size=8).digest()) >> 1)


def permutation(seed: int, epoch: int, size: int) -> Int[Tensor, " size"]:
    """Return the order of one epoch: a permutation that depends on (seed, epoch) only."""
    return torch.randperm(size, generator=generator(seed, epoch, "order"))


def dither(seed: int, step: int, stream: str, like: Tensor) -> Int[Tensor, "*shape"]:
    """Return uniform integers 0..65535 of a tensor's shape, drawn on its device.

    A function of (seed, step, stream) on one kind of device; CUDA and the CPU draw differently.
    """
    key = f"{RNG_SCHEME}/{seed}/{step}/dither/{stream}".encode()
    rng = Generator(like.device)
    rng.manual_seed(int.from_bytes(blake2b(key, digest_size=8).digest()) >> 1)
    return torch.randint(
        0, 1 << 16, like.shape, dtype=torch.int32, device=like.device, generator=rng
    )


@dataclass(frozen=True)
class Draws:
    """Named random numbers for a batch of prompts, one row per prompt, on the CPU in float32.

    Neither the batch size, nor the order of calls, nor the number of processes changes a row.
    """

    seed: int
    positions: Int[Tensor, " b"]

    def normal(
        self, stream: str, shape: tuple[int, ...], images: int | None = None
    ) -> Float[Tensor, " b *shape"]:
        """Draw standard normals, [b *shape], or [b images *shape] with one draw per image."""
        if images is None:
            return self._rows(stream, lambda rng: torch.randn(shape, generator=rng))
        return torch.stack(
            [
                self._rows(stream, lambda rng: torch.randn(shape, generator=rng), image)
                for image in range(images)
            ],
            dim=1,
        )

    def integers(self, stream: str, low: int, high: int) -> Int[Tensor, " b"]:
        """Draw one integer per prompt, uniform on low..high-1."""
        return self._rows(stream, lambda rng: torch.randint(low, high, (), generator=rng))

    def uniform(self, stream: str) -> Float[Tensor, " b"]:
        """Draw one number per prompt, uniform on [0, 1)."""
        return self._rows(stream, lambda rng: torch.rand((), generator=rng))

    def _rows(self, stream: str, draw: Callable[[Generator], Tensor], image: int = -1) -> Tensor:
        return torch.stack(
            [draw(generator(self.seed, int(p), stream, image)) for p in self.positions]
        )
