"""Losses on residuals: DSPO's score matching."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.errors import ConfigError
from diffpref.losses.pair import gap, lean
from diffpref.numerics import residual_loglik
from diffpref.types import PerImage, PerPrompt, Unit

Residuals = Float[Tensor, "b 2 *feature"]

FAR = 0.1
"""Mean squared distance from the reference at which the switching branch changes its form."""


@dataclass(frozen=True, kw_only=True)
class ScoreLoss:
    """See `score_matching`."""

    unit: ClassVar[Unit] = "pairs"
    needs_reference: ClassVar[bool] = True

    beta: float
    branch: Literal["score", "switch"]

    def on_residuals(
        self, policy: Residuals, reference: Residuals | None, label: PerImage
    ) -> PerPrompt:
        if reference is None:
            raise ConfigError(
                "score matching compares with a reference",
                where="reference.kind",
                hint="set reference.kind: adapters_off (LoRA) or frozen",
            )
        toward = lean(label)
        doubt = torch.sigmoid(-self.beta * toward * gap(_loglik(policy) - _loglik(reference)))
        first = (toward > 0).view(-1, *(1,) * (policy.dim() - 2))
        winner = policy[:, 0].where(first, policy[:, 1])
        moved = winner - reference[:, 0].where(first, reference[:, 1])
        if self.branch == "score":
            wide = doubt.view(first.shape)
            return (winner - self.beta * wide * moved).flatten(1).square().mean(dim=1)
        apart = moved.flatten(1).square().mean(dim=1)
        return torch.where(apart >= FAR, doubt.square() * apart, doubt.square())


def _loglik(residuals: Residuals) -> PerImage:
    return residual_loglik(residuals.flatten(0, 1)).view(len(residuals), 2)


def score_matching(
    *, beta: float = 0.01, branch: Literal["score", "switch"] = "score"
) -> ScoreLoss:
    r"""Return DSPO's loss as its released scripts compute it (Zhu et al., ICLR 2025).

    Equation:
        score:  mean ( (eps_theta - eps)^w - \beta \sigma(-u) (eps_theta - eps_ref)^w )^2
        switch: \sigma(-u)^2, times mean ((eps_theta - eps_ref)^w)^2 where that is at least 0.1
        u as in Diffusion-DPO with this beta; gradients flow through every factor

    At the published beta of `score` the loser enters at order beta^2 only: it is fine-tuning on
    preferred images with a slight push away from the reference. `switch` is a Brier loss on the
    preference (`parts.loss: brier`) until the policy is far from its reference.

    Departs from the released code: the switch is decided per pair (released: per micro-batch).

    Raises:
        ValueError: beta is not above 0.
    """
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta}")
    return ScoreLoss(beta=beta, branch=branch)
