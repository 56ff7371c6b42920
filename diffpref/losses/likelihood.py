"""Plain likelihood: fit what was liked."""

from dataclasses import dataclass
from typing import ClassVar

from diffpref.types import PerImage, PerPrompt, Unit


@dataclass(frozen=True)
class LikelihoodLoss:
    """The preferred image's mean squared error, -2 log pi."""

    unit: ClassVar[Unit] = "images"

    def __call__(self, policy: PerImage, reference: PerImage | None, label: PerImage) -> PerPrompt:
        del reference
        return -2 * (label * policy).sum(dim=1)


def likelihood() -> LikelihoodLoss:
    """Fit the preferred image as in pre-training: its mean squared error, -2 log pi.

    Takes any number of images per prompt; a single like has label 1. Reads no reference.
    """
    return LikelihoodLoss()
