"""A running average of what trains, and networks that borrow it."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Ema:
    """average <- decay * average + (1 - decay) * live after every optimizer step, in float32."""

    average: Mapping[str, Tensor]
    live: Mapping[str, Tensor]
    decay: float

    @torch.no_grad()
    def update(self) -> None:
        for name, kept in self.average.items():
            kept.lerp_(self.live[name].to(kept), 1 - self.decay)

    @contextmanager
    def swapped(self) -> Generator[None]:
        """Put the average in place of the live values inside the context."""
        with torch.no_grad():
            kept = {name: value.detach().clone() for name, value in self.live.items()}
            _copy(self.average, self.live)
            try:
                yield
            finally:
                _copy(kept, self.live)


def start_ema(live: Mapping[str, Tensor], decay: float) -> Ema:
    """Return an average that starts at the live values."""
    average = {
        name: value.detach().to(torch.promote_types(value.dtype, torch.float32), copy=True)
        for name, value in live.items()
    }
    return Ema(average=average, live=live, decay=decay)


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, value in target.items():
        value.copy_(source[name])
