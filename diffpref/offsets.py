"""How far the logit of a pair must pass zero."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpref.losses.pair import gap
from diffpref.types import Offset, PerImage, PerPrompt

FORMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda gap: gap,
    "softplus": F.softplus,
    "log": lambda gap: gap.clamp(min=1e-12).log(),
}


def score_gap(
    *, scale: float = 1.0, form: Literal["identity", "softplus", "log"] = "identity"
) -> Offset:
    """Ask for more where the scores differ more: ODPO, 2402.10571.

    Equation:
        -log sigma(u - scale f(|score_w - score_l|))

    Args:
        scale: alpha.
        form: f. `log` is the released code's: below a gap of 1 it is negative, so that scores on
            a small scale (PickScore's cosines) would reward doing nothing.

    Returns:
        An offset.

    Raises:
        ValueError: scale is not above 0.
    """
    if not scale > 0:
        raise ValueError(f"scale must be above 0, got {scale}")

    def offset(score: PerImage) -> PerPrompt:
        return scale * FORMS[form](gap(score).abs())

    return offset


def constant(*, value: float) -> Offset:
    """Ask for the same margin everywhere: SimPO's gamma, 2405.14734."""
    return lambda score: torch.full_like(score[:, 0], value)
