"""Gradient guards: protection of the preferred image that changes no value."""

import torch

from diffpref.errors import ConfigError
from diffpref.losses.pair import PAIR, gap
from diffpref.types import Guard, Measure, PerImage, PerRow


def winner(*, mu: float = 0.9, per_batch: bool = False) -> Guard:
    r"""Hold the loser's gradient back so far that the winner's error does not rise.

    Equation:
        \lambda = clip( (1 - \mu) |R_w|^2 / <R_l, R_w>, 0, 1 ) if <R_l, R_w> > 0, else 1
        R: prediction minus target; the loser's gradient is multiplied by \lambda
        (Diffusion-SDPO, 2511.03317; output-space gradients of mean squared errors are
        proportional to residuals, so no autograd is needed)

    To first order, and in the space of predictions: parameters couple images in ways it does not
    see. Sensible where both images share t and noise.

    Args:
        mu: share of the winner's descent that is kept safe, 0 to 1. Published: 0.9 for SD1.5
            (0.2 with DSPO), 0.6 for SDXL.
        per_batch: one lambda for all pairs, as the released code has it for a micro-batch; here
            it is over the window of a process.

    Returns:
        A guard for pairs.

    Raises:
        ValueError: mu is not in [0, 1].
    """
    if not 0 <= mu <= 1:
        raise ValueError(f"mu must be 0 to 1, got {mu}")

    def guard(residual: Measure, label: PerImage) -> PerRow:
        if label.shape[1] != PAIR:
            raise ConfigError(
                f"this guard protects the winner of a pair, the data has {label.shape[1]} images",
                where="parts.guard",
                hint="remove the guard, or train on pairs",
            )
        first, second = residual.view(len(label), PAIR, -1).unbind(1)
        toward = gap(label)
        ahead = (toward >= 0)[:, None]
        won, lost = first.where(ahead, second), second.where(ahead, first)
        along, length = (won * lost).sum(dim=1), won.square().sum(dim=1)
        if per_batch:
            along, length = (x.sum().expand(len(label)) for x in (along, length))
        share = ((1 - mu) * length / along.where(along > 0, 1.0)).clamp(0, 1)
        share = torch.where((along > 0) & (toward != 0), share, 1.0)
        one = torch.ones_like(share)
        loser_second = toward > 0
        shares = torch.stack(
            [one.where(loser_second, share), share.where(loser_second, one)], dim=1
        )
        return shares.flatten()

    return guard
