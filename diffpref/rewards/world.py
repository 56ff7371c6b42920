"""The exact oracle of the bundled world as scorers: population utility, and prompt fidelity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from diffpref.errors import DataError
from diffpref.rewards.info import ScorerInfo
from diffpref.rewards.model import Pixels
from diffpref.rewards.options import LoadOptions
from diffpref.types import PerRow
from diffpref.world.oracle import fidelity
from diffpref.world.people import FIDELITY_WEIGHT, TEMPERATURE, utility
from diffpref.world.scene import SIDE


@dataclass(frozen=True, kw_only=True)
class OracleModel:
    """Reads pictures of the world exactly; computes on the CPU in float32 whatever is asked."""

    info: ScorerInfo
    measure: Callable[[Pixels, tuple[str, ...]], PerRow]

    def reward(self, pixels: Pixels, prompts: tuple[str, ...], /) -> PerRow:
        """Return the exact scores, on the device of `pixels`.

        Raises:
            DataError: a picture of another size, or a prompt that is not of the world.
        """
        height, width = pixels.shape[-2:]
        if (height, width) != (SIDE, SIDE):
            raise DataError(
                f"the oracle reads pictures of {SIDE} x {SIDE} pixels, not {width} x {height}",
                where=f"scorer {self.info.id}",
                hint="it judges the bundled world only; choose another scorer for other images",
            )
        return self.measure(pixels.detach().cpu(), prompts).to(pixels.device)

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: torch.device | None, dtype: torch.dtype | None, /) -> "OracleModel":
        del device, dtype
        return self


def load_oracle(options: LoadOptions) -> OracleModel:
    """Return the population's exact utility: taste - 2 (1 - fidelity)."""
    options.refuse_weights("world-oracle")
    return OracleModel(
        info=ScorerInfo(
            name="world-oracle",
            kind="fusion",
            scale="utility of the population: taste attributes in (-1, 1) times their weights, "
            "minus 2 (1 - prompt fidelity)",
            range_hint=(-4.0, 3.0),
            licence="Apache-2.0",
            differentiable=False,
            preprocess_id="none/32",
            tokenizer_id="world-grammar",
            temperature=TEMPERATURE,
        ),
        measure=utility,
    )


def load_fidelity(options: LoadOptions) -> OracleModel:
    """Return the share of what the caption states that the picture shows."""
    options.refuse_weights("world-fidelity")
    return OracleModel(
        info=ScorerInfo(
            name="world-fidelity",
            kind="fusion",
            scale="mean over the rules the caption states, 0 to 1",
            range_hint=(0.0, 1.0),
            licence="Apache-2.0",
            differentiable=False,
            preprocess_id="none/32",
            tokenizer_id="world-grammar",
            temperature=TEMPERATURE / FIDELITY_WEIGHT,
        ),
        measure=fidelity,
    )
