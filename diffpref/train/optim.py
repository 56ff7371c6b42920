"""Optimizers by name, learning rates as functions of the step, and optimizer state as tensors."""

import math
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from diffpref.errors import ConfigError
from diffpref.train.eager import Eager, eager
from diffpref.train.pieces import Parameters, Pieces, in_pieces
from diffpref.train.precision import PRECISIONS
from diffpref.train.shards import laid_out

FLAT = {"adafactor_flat": "adafactor"}
"""Optimizers that are shown convolutions as matrices, and whose they are otherwise."""


@runtime_checkable
class Updates(Protocol):
    """What updates weights: one of torch's optimizers, or one in pieces."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def step(self) -> Any: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...


def make_updates(
    name: str,
    parameters: Parameters,
    settings: Mapping[str, Any],
    *,
    precision: str = "fp32",
    seed: int = 0,
    in_backward: bool = False,
) -> Updates:
    """Return what updates named parameters.

    Args:
        name: an optimizer, as in a configuration.
        parameters: what trains.
        settings: the other arguments of `make_optimizer`.
        precision: a name of `PRECISIONS`.
        seed: of random roundings.
        in_backward: update each weight in the backward pass.

    Raises:
        ConfigError: the optimizer needs a package that is missing.
    """

    def make(some: Parameters) -> Optimizer:
        return make_optimizer(FLAT.get(name, name), some, **settings)

    flat = name in FLAT
    if precision == "fp32" and not flat and not in_backward:
        return make(parameters)
    kept = PRECISIONS[precision]
    one = {"numbers": 1} if in_backward else {}
    pieces = in_pieces(parameters, make, precision=kept, seed=seed, flat=flat, **one)
    return eager(pieces) if in_backward else pieces


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
    # one kernel for all; on the CPU and for shards torch's choice stays
    fused = {"fused": True} if all(type(v) is nn.Parameter and v.is_cuda for v in values) else {}
    return torch.optim.AdamW(
        values, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, **fused
    )


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


def set_lr(optimizer: Updates, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_tensors(optimizer: Updates, parameters: Parameters) -> dict[str, Tensor]:
    """Return the state as tensors named `<parameter>/<entry>`; numbers become 0-d tensors.

    What belongs to a sharded parameter is a shard.
    """
    packed: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for key, value in _state_of(optimizer, name, parameter).items():
            if value is None:
                continue
            kept = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
            packed[f"{name}/{key}"] = kept
    return packed


def load_optimizer(
    optimizer: Updates, parameters: Parameters, packed: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` returned, whole, number for number."""
    state: dict[str, dict[str, Any]] = {}
    for entry, value in packed.items():
        name, _, key = entry.rpartition("/")
        number = value.dtype == torch.float64 and value.dim() == 0
        own = state.setdefault(name, {})
        own[key] = value.item() if number else laid_out(value, parameters[name])
    pieces = _pieces(optimizer)
    if pieces is not None:
        pieces.load(state)
        return
    assert isinstance(optimizer, Optimizer)
    order = {id(p): i for i, p in enumerate(p for g in optimizer.param_groups for p in g["params"])}
    numbered = {order[id(parameters[name])]: own for name, own in state.items()}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": numbered, "param_groups": groups})


def _pieces(optimizer: Updates) -> Pieces | None:
    found = optimizer.pieces if isinstance(optimizer, Eager) else optimizer
    return found if isinstance(found, Pieces) else None


def _state_of(optimizer: Updates, name: str, parameter: nn.Parameter) -> Mapping[str, Any]:
    pieces = _pieces(optimizer)
    if pieces is not None:
        return pieces.state_of(name)
    assert isinstance(optimizer, Optimizer)
    return optimizer.state[parameter]
