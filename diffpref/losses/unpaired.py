"""Losses on single images that were each liked or disliked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpref.errors import ConfigError
from diffpref.losses.pair import log_ratio
from diffpref.types import PerImage, PerPrompt, Unit

Utility = Literal["kahneman_tversky", "loss_averse", "risk_seeking"]
Baseline = Literal["mean", "classes"]

LOSSES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "kahneman_tversky": lambda v: torch.sigmoid(-v),
    "loss_averse": lambda v: -F.logsigmoid(v),
    "risk_seeking": lambda v: F.logsigmoid(-v),
}
"""Utility -> the loss of a value v; each falls in v. Concave utility averts losses."""


@dataclass(frozen=True, kw_only=True)
class KtoLoss:
    """See `kto`."""

    unit: ClassVar[Unit] = "unpaired"
    couples_batch: ClassVar[bool] = True

    beta: float
    utility: Utility
    baseline: Baseline
    desirable: float
    undesirable: float

    def __call__(self, policy: PerImage, reference: PerImage | None, label: PerImage) -> PerPrompt:
        if label.shape[1] != 1:
            raise ConfigError(
                f"KTO learns from single images, the data has {label.shape[1]} per prompt",
                where="data.unpaired",
                hint="set data.unpaired: true",
            )
        r, liked = log_ratio(policy, reference)[:, 0], label[:, 0] > 0
        side = torch.where(liked, 1.0, -1.0).to(r)
        value = side * self.beta * (r - self._zero(r.detach(), liked))
        weight = torch.where(liked, self.desirable, self.undesirable).to(r)
        return weight * LOSSES[self.utility](value)

    def _zero(self, r: PerPrompt, liked: Tensor) -> Tensor:
        """Return the reference point of gains and losses."""
        if self.baseline == "mean":
            return r.mean().clamp(min=0)
        present = [r[side].mean() for side in (liked, ~liked) if bool(side.any())]
        return torch.stack(present).mean()


def kto(
    *,
    beta: float,
    utility: Utility = "kahneman_tversky",
    baseline: Baseline = "mean",
    desirable: float = 1.0,
    undesirable: float = 1.0,
) -> KtoLoss:
    r"""Maximise the utility of single images: Diffusion-KTO, 2404.04465.

    Equation:
        w_y (1 - \sigma( y \beta (r - z) )),   r = l - l^ref,  y = +1 if liked else -1
        z = max(0, mean of r over the whole batch), not differentiated

    Args:
        beta: strength; kappa = beta / 2 on mean errors, so the published 5000 is 10000 here.
        utility: kahneman_tversky as above; loss_averse -log sigma(v); risk_seeking log sigma(-v).
        baseline: mean, as above; classes: the mean of the liked and the disliked images' means,
            not clamped (an option of the released code).
        desirable: w_y of liked images.
        undesirable: w_y of disliked images.

    Returns:
        A loss that couples the images of a batch over micro-batches and processes.

    Raises:
        ValueError: beta is not above 0, or a weight is below 0.

    Departs from the released code: its third baseline, captions rolled by one, is left out (it
    needs another forward of mismatched pairs).
    """
    if not beta > 0 or min(desirable, undesirable) < 0:
        raise ValueError(f"needs beta > 0 and weights >= 0, got {beta}, {desirable}, {undesirable}")
    return KtoLoss(
        beta=beta,
        utility=utility,
        baseline=baseline,
        desirable=desirable,
        undesirable=undesirable,
    )
