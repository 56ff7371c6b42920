"""What a model's images are measured by, besides the oracle and prompt fidelity."""

from jaxtyping import Float
from torch import Tensor

from diffpref.evaluate import drift as measured
from diffpref.world.taste import attributes
from diffpref.world.untouched import untouched

Images = Float[Tensor, "n 3 y x"]


def drift(images: Images, base: Images) -> float:
    """Return how far the statistics that nobody has a taste about moved."""
    return measured.shift(untouched(images), untouched(base))


def diversity(images: Images) -> float:
    """Return the mean Euclidean distance of two different images in the oracle's attributes."""
    return measured.diversity(attributes(images))
