"""The exact oracle of the bundled world as scorers: population utility, and prompt fidelity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffpref.errors import DataError
from diffpref.rewards.cards import SCORERS
from diffpref.rewards.info import ScorerInfo, info_of
from diffpref.rewards.options import LoadOptions
from diffpref.rewards.sight import Pixels, Seen
from diffpref.types import PerRow
from diffpref.world.oracle import fidelity
from diffpref.world.people import utility
from diffpref.world.scene import SIDE


@dataclass(frozen=True, kw_only=True)
class OracleModel:
    """Reads pictures of the world exactly; computes on the CPU in float32 whatever is asked."""

    info: ScorerInfo
    measure: Callable[[Pixels, tuple[str, ...]], PerRow]

    @property
    def sight(self) -> Seen:
        return Seen(id=self.info.preprocess_id, look=self._look)

    def judge(self, seen: Tensor, prompts: tuple[str, ...], /) -> PerRow:
        """Return the exact scores.

        Raises:
            DataError: a prompt that is not of the world.
        """
        return self.measure(seen.detach().cpu(), prompts)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "OracleModel":
        del device, dtype
        return self

    def _look(self, pixels: Pixels) -> Tensor:
        height, width = pixels.shape[-2:]
        if (height, width) != (SIDE, SIDE):
            raise DataError(
                f"the oracle reads pictures of {SIDE} x {SIDE} pixels, not {width} x {height}",
                where=f"scorer {self.info.id}",
                hint="it judges the bundled world only; choose another scorer for other images",
            )
        return pixels


def load_oracle(options: LoadOptions) -> OracleModel:
    """Return the population's exact utility: taste - 2 (1 - fidelity)."""
    return _oracle("world-oracle", options, utility)


def load_fidelity(options: LoadOptions) -> OracleModel:
    """Return the share of what the caption states that the picture shows."""
    return _oracle("world-fidelity", options, fidelity)


def _oracle(
    name: str, options: LoadOptions, measure: Callable[[Pixels, tuple[str, ...]], PerRow]
) -> OracleModel:
    options.refuse_weights(name)
    info = info_of(SCORERS[name], preprocess_id=f"none/{SIDE}", tokenizer_id="world-grammar")
    return OracleModel(info=info, measure=measure)
