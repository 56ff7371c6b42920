"""What a user may say when loading a scorer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from diffpref.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How to load a scorer.

    Attributes:
        variant: what stands after the colon of the name.
        weights: file or folder instead of the scorer's own; by part where it has several.
        weights_dir: folder to look in before any other.
        device: where it computes.
        dtype: precision of the networks; scores are float32.
        allow_download: fetch what is missing from the hub.
        published: refuse weights that have not the size of the published ones.
    """

    variant: str = ""
    weights: str | Mapping[str, str] | None = None
    weights_dir: Path | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    allow_download: bool = False
    published: bool = True

    def refuse_weights(self, name: str) -> None:
        """Refuse weights for a scorer that has none.

        Raises:
            UsageError: weights were given.
        """
        if self.weights is not None:
            hint = "leave weights out"
            raise UsageError(f"{name} has no weights", where=f"scorer {name}", hint=hint)
