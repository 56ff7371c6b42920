"""What the data says: scores of a prompt's images become labels that sum to one."""

import torch

from diffpref.errors import ConfigError
from diffpref.types import PerImage


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
