"""Per-prompt numbers that tell learning from drifting apart."""

import torch

from diffpref.losses import log_ratio
from diffpref.types import (
    PerImage,
    PerPrompt,
)


def health(policy: PerImage, reference: PerImage | None, label: PerImage) -> dict[str, PerPrompt]:
    """Return per-prompt numbers that tell learning from drifting apart.

    winner_error, loser_error: mean squared errors. winner_drift, loser_drift: log pi / pi_ref of
    the preferred and the other images, above 0 where the policy explains them better than the
    reference; only with a reference. margin: their difference. implicit_accuracy: 1 where the
    highest log ratio is a preferred image's; ties in either count 1/2. Values about the other
    images exist from two images per prompt.
    """
    top = _share(label == label.amax(dim=1, keepdim=True))
    low = _share(label == label.amin(dim=1, keepdim=True))
    metrics = {"winner_error": -2 * (top * policy).sum(dim=1)}
    r = log_ratio(policy, reference)
    if reference is not None:
        metrics["winner_drift"] = (top * r).sum(dim=1)
    if label.shape[1] == 1:
        return metrics
    metrics["loser_error"] = -2 * (low * policy).sum(dim=1)
    if reference is not None:
        metrics["loser_drift"] = (low * r).sum(dim=1)
    metrics["margin"] = ((top - low) * r).sum(dim=1)
    agreed = (_share(r == r.amax(dim=1, keepdim=True)) * (top > 0)).sum(dim=1)
    tied = (label == label[:, :1]).all(dim=1)
    metrics["implicit_accuracy"] = torch.where(tied, 0.5, agreed)
    return metrics


def single_health(
    policy: PerImage, reference: PerImage | None, label: PerImage
) -> dict[str, PerPrompt]:
    """Return the errors and drifts of single images: winners were liked, losers disliked.

    An image's value of the other kind is NaN.
    """
    liked, error = label[:, 0] > 0, -2 * policy[:, 0]
    found = (
        {"error": error}
        if reference is None
        else {"error": error, "drift": log_ratio(policy, reference)[:, 0]}
    )
    metrics: dict[str, PerPrompt] = {}
    for name, value in found.items():
        metrics[f"winner_{name}"] = value.where(liked, torch.nan)
        metrics[f"loser_{name}"] = value.where(~liked, torch.nan)
    return metrics


def _share(chosen: torch.Tensor) -> torch.Tensor:
    """Spread one unit evenly over each row's chosen entries"""
    weights = chosen.to(torch.float32)
    return weights / weights.sum(dim=1, keepdim=True)
