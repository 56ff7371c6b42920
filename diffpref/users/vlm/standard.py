"""Makes hidden states comparable: centred on many people, unit variance along a few directions."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import ConfigError

SMALLEST = 1e-6
"""Share of the largest variance below which a direction is noise of rounding."""


@dataclass(frozen=True, kw_only=True)
class Standard:
    """e = (h - mean) W, float32."""

    mean: Float[Tensor, " d"]
    matrix: Float[Tensor, "d u"]

    @property
    def width(self) -> int:
        return self.matrix.shape[1]

    def __call__(self, states: Float[Tensor, "n d"]) -> Float[Tensor, "n u"]:
        return (states - self.mean) @ self.matrix


def fit_standard(states: Float[Tensor, "n d"], width: int) -> Standard:
    """Return the leading principal directions of states, each divided by its deviation.

    Raw states mostly differ in norm and length of text; a few large coordinates would be all an
    adapter hears.

    Args:
        states: of many people, or of many parts of their choices.
        width: directions kept.

    Raises:
        ConfigError: the states do not vary in so many directions.
    """
    mean = states.double().mean(dim=0)
    centred = states.double() - mean
    _, values, axes = torch.linalg.svd(centred, full_matrices=False)
    variance = values.square() / len(states)
    varied = int((variance > SMALLEST * variance[0].clamp(min=1e-300)).sum())
    if width > varied:
        what = f"what the model says of {len(states)} sets of choices varies in {varied} directions"
        hint = f"set at most {varied}, or give more people"
        raise ConfigError(what, where="users.width", hint=hint)
    axes = axes[:width].T
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    # an axis has no sign of its own: its largest number is made positive
    matrix = axes * largest.sign() / variance[:width].sqrt()
    return Standard(mean=mean.float(), matrix=matrix.float())
