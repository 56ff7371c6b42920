"""Simple user encoders: the mean whitened difference of a user's choices, and two bounds of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.data.support import SupportPair
from diffpref.errors import ConfigError, DataError
from diffpref.io import load_weights, save_tensors
from diffpref.world.crowd import bundled_crowd
from diffpref.world.people import DEVIATION, Person, population_taste

FILE = "user_encoder.safetensors"
WHITENING = "whitening"
SMALLEST = 1e-6
"""Share of the largest variance below which a direction is noise of rounding."""


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    r"""The simple encoder: what the chosen images have more of than the rejected, on average.

        e = \sum_i w_i W^T (\phi_i^+ - \phi_i^-) / \sum_i w_i

    It knows nothing of what other users like and does not say how sure it is; few choices make a
    long, noisy vector. The columns of W are the leading principal directions of image features,
    scaled so that images vary by 1 along each.
    """

    whitening: Float[Tensor, "d u"]

    @property
    def width(self) -> int:
        return self.whitening.shape[1]

    @property
    def fingerprint(self) -> str:
        data = self.whitening.contiguous().numpy().tobytes()
        return "mean_difference/" + blake2b(data, digest_size=8).hexdigest()

    def __call__(self, support: Sequence[SupportPair], /) -> Float[Tensor, " u"]:
        """Return the mean over the choices, weighted as they are."""
        weight = torch.tensor([pair.weight for pair in support])
        gaps = torch.stack([pair.chosen - pair.rejected for pair in support])
        return (weight[:, None] * (gaps @ self.whitening)).sum(dim=0) / weight.sum()

    def save(self, folder: Path) -> Path:
        """Write the encoder where a run keeps it."""
        save_tensors(folder / FILE, {WHITENING: self.whitening}, {"encoder": self.fingerprint})
        return folder / FILE


def fit_mean_difference(features: Float[Tensor, "i d"], width: int) -> MeanDifference:
    """Fit the whitening on image features.

    Args:
        features: of the training images.
        width: principal directions kept, the numbers of a user's vector.

    Returns:
        The encoder; the same features give the same one.

    Raises:
        ConfigError: the features do not vary in so many directions.
    """
    centred = (features - features.mean(dim=0)).double()
    variance, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    variance, axes = variance.flip(0), axes.flip(1)
    varied = int((variance > SMALLEST * variance[0]).sum())
    if width > varied:
        raise ConfigError(
            f"the images vary in {varied} directions, not in {width}",
            where="users.width",
            hint=f"set at most {varied}",
        )
    axes = axes[:, :width]
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    # an axis has no sign of its own: its largest number is made positive
    return MeanDifference(whitening=(axes * largest.sign() / variance[:width].sqrt()).float())


def load_mean_difference(path: Path) -> MeanDifference:
    """Read an encoder a run has kept.

    Raises:
        DataError: missing or damaged.
    """
    stored = load_weights(path)
    if WHITENING not in stored or stored[WHITENING].ndim != 2:
        hint = "give the file that the run wrote"
        raise DataError("is not a user encoder", where=str(path), hint=hint)
    return MeanDifference(whitening=stored[WHITENING])


@cache
def _crowd() -> dict[str, Person]:
    return bundled_crowd()


@dataclass(frozen=True, kw_only=True)
class WorldTaste:
    """An upper bound for `builtin:pairs`: what the voter likes, known exactly, choices unseen."""

    @property
    def width(self) -> int:
        return len(population_taste())

    @property
    def fingerprint(self) -> str:
        return "world_taste"

    def __call__(self, support: Sequence[SupportPair], /) -> Float[Tensor, " u"]:
        """Return how the voter's taste differs from the population's, in standard deviations.

        Raises:
            DataError: the voter is not of the bundled people.
        """
        known = _crowd()
        if not support or support[0].user not in known:
            hint = "choose users.encoder: mean_difference"
            raise DataError("this voter's taste is not known", where="users.encoder", hint=hint)
        return (known[support[0].user].taste - population_taste()) / DEVIATION
