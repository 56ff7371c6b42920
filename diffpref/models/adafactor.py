"""Adafactor with the settings of the published SDXL recipes."""

from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer
from transformers.optimization import Adafactor


def make_adafactor(
    parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float
) -> Optimizer:
    """Return Adafactor (Shazeer & Stern, 1804.04235) with a learning rate of its own.

    No parameter scaling, no relative step, no momentum: what Diffusion-DPO and its descendants
    train SDXL with.
    """
    return Adafactor(
        parameters,
        lr=lr,
        weight_decay=weight_decay,
        scale_parameter=False,
        relative_step=False,
        warmup_init=False,
    )
