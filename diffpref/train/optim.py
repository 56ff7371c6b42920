"""Optimizers by name, learning rates as functions of the step, and optimizer state as tensors."""

import math
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from diffpref.errors import ConfigError
from diffpref.train.shards import laid_out

Parameters = Mapping[str, nn.Parameter]


def make_optimizer(
    name: str,
    parameters: Parameters,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> Optimizer:
    """Return an optimizer over named parameters.

    Adafactor is the published recipe's: no parameter scaling, no relative step; betas and eps are
    its own. With sharded parameters every process holds all of its row and column averages, which
    are small.

    Raises:
        ConfigError: the optimizer needs a package that is missing.
    """
    values = list(parameters.values())
    if name == "adafactor":
        from diffpref.models.adafactor import first_state, make_adafactor

        made = make_adafactor(values, lr=lr, weight_decay=weight_decay)
        for value in values:  # it would make ordinary tensors, which do not mix with shards
            start = first_state(value)
            made.state[value] = {
                key: laid_out(each, value) if isinstance(each, Tensor) else each
                for key, each in start.items()
            }
        return made
    if name == "adamw8bit":
        return _adamw8bit(values, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
    return torch.optim.AdamW(values, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


def _adamw8bit(
    values: list[nn.Parameter],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> Optimizer:
    try:
        kind: Any = import_module("bitsandbytes.optim").AdamW8bit
    except ImportError as error:
        raise ConfigError(
            "bitsandbytes is not installed",
            where="optimizer.name",
            hint="pip install 'diffpref[bnb]', or set optimizer.name: adamw",
        ) from error
    return kind(values, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


def lr_factor(schedule: str, *, warmup: int, steps: int) -> Callable[[int], float]:
    """Return step -> factor on the learning rate; step counts finished steps, from 0.

    A linear warm-up reaches 1 at step `warmup`; then `constant` stays there, and `linear` and
    `cosine` fall to 0 at `steps`.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        left = 1 - (step - warmup) / max(1, steps - warmup)
        if schedule == "linear":
            return max(0.0, left)
        return 0.5 * (1 - math.cos(math.pi * max(0.0, left))) if schedule == "cosine" else 1.0

    return factor


def set_lr(optimizer: Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_tensors(optimizer: Optimizer, parameters: Parameters) -> dict[str, Tensor]:
    """Return the state as tensors named `<parameter>/<entry>`; numbers become 0-d tensors.

    What belongs to a sharded parameter is a shard.
    """
    packed: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for key, value in optimizer.state[parameter].items():
            if value is None:
                continue
            kept = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
            packed[f"{name}/{key}"] = kept
    return packed


def load_optimizer(
    optimizer: Optimizer, parameters: Parameters, packed: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` returned, whole, number for number."""
    state: dict[int, dict[str, Any]] = {}
    order = {id(p): i for i, p in enumerate(p for g in optimizer.param_groups for p in g["params"])}
    for entry, value in packed.items():
        name, _, key = entry.rpartition("/")
        own = state.setdefault(order[id(parameters[name])], {})
        number = value.dtype == torch.float64 and value.dim() == 0
        own[key] = value.item() if number else laid_out(value, parameters[name])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
