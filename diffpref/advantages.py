"""How much better an image did than the others of its prompt."""

from diffpref.types import PerImage

SPREAD_FLOOR = 1e-4
"""Added to the standard deviation, so that equal rewards give no advantage (Flow-GRPO's)."""


def advantages(reward: PerImage, *, clip: float) -> PerImage:
    r"""Return A = (r - mean) / (std + 1e-4) over the images of each prompt, within +-clip.

    The standard deviation is that of the group itself (divided by k).
    """
    centred = reward - reward.mean(dim=1, keepdim=True)
    spread = centred.square().mean(dim=1, keepdim=True).sqrt()
    return (centred / (spread + SPREAD_FLOOR)).clamp(-clip, clip)
