"""Adafactor with the settings of the published SDXL recipes."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
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


def first_state(parameter: Tensor) -> dict[str, Tensor | int]:
    """Return the state Adafactor begins with: zeros per row and per column, or per number."""
    shape, like = parameter.shape, {"dtype": parameter.dtype, "device": parameter.device}
    if parameter.dim() < 2:
        return {"step": 0, "exp_avg_sq": torch.zeros(shape, **like), "RMS": 0}
    return {
        "step": 0,
        "exp_avg_sq_row": torch.zeros(shape[:-1], **like),
        "exp_avg_sq_col": torch.zeros(shape[:-2] + shape[-1:], **like),
        "RMS": 0,
    }
