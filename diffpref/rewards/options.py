"""What a user may say when loading a scorer."""

from dataclasses import dataclass, field

import torch

from diffpref.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """`variant` is what stands after the colon of the name; `weights` replaces the default."""

    variant: str = ""
    weights: str | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32

    def refuse_weights(self, name: str) -> None:
        """Refuse weights for a scorer that has none.

        Raises:
            UsageError: weights were given.
        """
        if self.weights is not None:
            hint = "leave weights out"
            raise UsageError(f"{name} has no weights", where=f"scorer {name}", hint=hint)

    def refuse_variant(self, name: str) -> None:
        """Refuse a variant of a scorer that has none.

        Raises:
            UsageError: the name had a part after a colon.
        """
        if self.variant:
            what = f"{name} has no variant '{self.variant}'"
            raise UsageError(what, where=f"scorer {name}:{self.variant}", hint=f"write {name}")
