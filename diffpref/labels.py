"""What the data says: scores of a prompt's images become labels that sum to one."""

import torch

from diffpref.errors import ConfigError
from diffpref.types import Labeller, PerImage


def hard(score: PerImage) -> PerImage:
    """Return 1 for the best-scored image and 0 for the rest; the best share it when tied.

    Votes 1/0 keep their meaning, a tied pair becomes 0.5/0.5, a single like becomes 1.
    """
    best = (score == score.amax(dim=1, keepdim=True)).to(score.dtype)
    return best / best.sum(dim=1, keepdim=True)


def soft(score: PerImage) -> PerImage:
    """Return each image's share of the votes: scores in [0, 1] read as probabilities.

    A prompt whose scores are all 0 prefers nothing and shares equally; a score outside [0, 1]
    is refused.
    """
    if not bool(((score >= 0) & (score <= 1)).all()):
        low, high = float(score.min()), float(score.max())
        raise ConfigError(
            f"soft reads scores as probabilities, but they run from {low:g} to {high:g}",
            where="parts.label",
            hint="set parts.label: hard, or rescale the scores to [0, 1]",
        )
    total = score.sum(dim=1, keepdim=True)
    equal = torch.full_like(score, 1 / score.shape[1])
    return torch.where(total > 0, score / total.where(total > 0, 1), equal)


def smoothed(*, low: float = 0.0, high: float = 1.0) -> Labeller:
    r"""Return the softmax of min-max normalised scores over a prompt's images (SmPO, 2506.02698).

    Args:
        low: the smallest score of the whole data set.
        high: the largest.

    Returns:
        A labeller; a score outside low..high is a ConfigError, since scores on another scale
        would saturate it silently.

    Raises:
        ValueError: the range is empty.
    """
    if not low < high:
        raise ValueError(f"low must be below high, got {low} and {high}")

    def label(score: PerImage) -> PerImage:
        # Scores are kept in float32, so that the extremes may lie an ulp outside.
        slack = 1e-6 * max(abs(low), abs(high))
        if not bool(((score >= low - slack) & (score <= high + slack)).all()):
            least, most = float(score.min()), float(score.max())
            raise ConfigError(
                f"scores run from {least:g} to {most:g}, outside {low:g} to {high:g}",
                where="parts.label",
                hint="normalise them with a label table (diffpref label pairs), or give the data "
                "set's own low and high",
            )
        return ((score - low) / (high - low)).softmax(dim=1)

    return label


def softmax(*, temperature: float = 1.0) -> Labeller:
    """Return each image's share of exp(score / temperature) over its prompt's images.

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    return lambda score: (score / temperature).softmax(dim=1)


def wins() -> Labeller:
    """Return the share of a prompt's other images that each beats; a tie counts one half."""

    def label(score: PerImage) -> PerImage:
        gap = score[:, :, None] - score[:, None, :]
        beaten = (gap > 0).to(score.dtype) + 0.5 * (gap == 0).to(score.dtype)
        return (beaten.sum(dim=2) - 0.5) / max(score.shape[1] - 1, 1)

    return label


def thumbs(score: PerImage) -> PerImage:
    """Return 1 for images that were liked (a score above 0) and 0 for the others."""
    return (score > 0).to(score.dtype)
