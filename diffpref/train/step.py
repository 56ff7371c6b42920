"""One optimizer step: gradient, clip, finite or nothing, update."""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from diffpref.draws import Draws
from diffpref.errors import OutOfMemoryError
from diffpref.references import Reference
from diffpref.train.backward import Context, accumulate
from diffpref.train.eager import Eager
from diffpref.train.ema import Ema
from diffpref.train.optim import Updates, set_lr
from diffpref.train.processes import Processes
from diffpref.train.shards import whole
from diffpref.types import Adaptive, Loss, Nets, Objective

B = TypeVar("B")

OUT_OF_MEMORY = (
    "try, in this order: model.gradient_checkpointing=true, a smaller adapter.rank, a smaller "
    "data.resolution, optimizer.name=adamw8bit"
)


@dataclass(frozen=True, kw_only=True)
class Learner(Generic[B]):
    """What learns, and how.

    `drawing` and `unsynced` make the contexts `accumulate` draws in, and goes backward in before
    its last pass; `rows_ahead` is its too.
    """

    objective: Objective[B, Any]
    nets: Nets
    parameters: Mapping[str, nn.Parameter]
    optimizer: Updates
    lr: float
    lr_factor: Callable[[int], float]
    reference: Reference
    processes: Processes
    max_grad_norm: float | None
    seed: int
    rows_ahead: int | None = None
    drawing: Context = nullcontext
    unsynced: Context = nullcontext
    ema: Ema | None = None
    scaler: torch.amp.GradScaler | None = None


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """`applied` is False when the step changed nothing because a number was not finite.

    `excused` says that this is the loss scaler finding its scale, not a fault.
    """

    loss: Loss
    grad_norm: float
    lr: float
    applied: bool
    excused: bool


def take_step(
    learner: Learner[B], window: B, positions: Tensor, step: int, rows_per_pass: int | None
) -> StepResult:
    """Make one optimizer step on the window, or change nothing if anything is not finite.

    An optimizer in the backward pass has by then changed what was finite.
    """
    lr = learner.lr * learner.lr_factor(step)
    set_lr(learner.optimizer, lr)
    loss = _gradient(learner, window, positions, rows_per_pass)
    norm = _clip(learner)
    good = torch.stack([loss.value.detach().float().cpu(), norm.cpu()]).isfinite().all()
    # every process must agree, or their weights would part
    agreed = bool(learner.processes.gather(good[None].to(learner.processes.device)).all())
    if agreed:
        _update(learner.optimizer, step)
    learner.optimizer.zero_grad(set_to_none=True)
    excused = _rescale(learner.scaler, agreed)
    if agreed:
        learner.reference.after_step(step + 1)
        if isinstance(learner.objective, Adaptive) and learner.objective.state:
            gather = learner.processes.gather
            learner.objective.learn({name: gather(m) for name, m in loss.metrics.items()})
        if learner.ema is not None:
            learner.ema.update()
    return StepResult(loss=loss, grad_norm=float(norm), lr=lr, applied=agreed, excused=excused)


def fitting_step(
    learner: Learner[B], window: B, positions: Tensor, step: int, rows: int
) -> tuple[StepResult, int]:
    """Take a step with `rows` rows per pass, halving them while the memory does not suffice.

    Returns:
        The result, and the rows per pass that fitted; the batch and its gradient are the same.

    Raises:
        OutOfMemoryError: even one row does not fit, there are several processes, or part of the
            step was made already, in the backward pass.
    """
    while True:
        try:
            return take_step(learner, window, positions, step, rows), rows
        except torch.OutOfMemoryError as error:
            final = rows == 1 or isinstance(learner.optimizer, Eager)
            if final or learner.processes.num_processes > 1:
                what = f"step {step} does not fit at {rows} images per pass"
                raise OutOfMemoryError(
                    what, where="loop.rows_per_pass", hint=OUT_OF_MEMORY
                ) from error
        learner.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        rows = max(1, rows // 2)


def _update(optimizer: Updates, step: int) -> None:
    """Apply the gradient; fewer rows per pass would not help here, and half an update may be done.

    Raises:
        OutOfMemoryError: the optimizer's state does not fit.
    """
    try:
        optimizer.step()
    except torch.OutOfMemoryError as error:
        what = f"the optimizer's state does not fit at step {step}"
        raise OutOfMemoryError(what, where="optimizer.name", hint=OUT_OF_MEMORY) from error


def _gradient(learner: Learner[B], window: B, positions: Tensor, rows_per_pass: int | None) -> Loss:
    processes = learner.processes
    return accumulate(
        learner.objective,
        learner.nets,
        window,
        Draws(learner.seed, positions),
        scale=1.0 if learner.scaler is None else learner.scaler.get_scale(),
        rows_per_pass=rows_per_pass,
        gather=processes.gather if processes.num_processes > 1 else None,
        rank=processes.process_index,
        rows_ahead=learner.rows_ahead,
        drawing=learner.drawing,
        referring=learner.reference.at_hand,
        unsynced=learner.unsynced,
    )


def _clip(learner: Learner[Any]) -> Tensor:
    """Clip the gradient to max_grad_norm, if there is one, and return the norm it had."""
    if isinstance(learner.optimizer, Eager):
        return learner.optimizer.norm()
    if learner.scaler is not None:
        scale = learner.scaler.get_scale()
        for parameter in learner.parameters.values():
            if parameter.grad is not None:
                parameter.grad.div_(scale)
    limit = math.inf if learner.max_grad_norm is None else learner.max_grad_norm
    norm = learner.processes.clip_grad_norm_(learner.parameters.values(), limit)
    return whole(torch.as_tensor(norm)).detach().float()


def _rescale(scaler: torch.amp.GradScaler | None, agreed: bool) -> bool:
    """Follow torch's rule: halve on overflow, double after 2000 good steps; floor at 1."""
    if scaler is None:
        return False
    state = scaler.state_dict()
    scale, good = float(state["scale"]), int(state["_growth_tracker"])
    if not agreed:
        scaler.load_state_dict({**state, "scale": max(1.0, scale / 2), "_growth_tracker": 0})
        return scale > 1
    good += 1
    if good == state["growth_interval"]:
        scale, good = scale * state["growth_factor"], 0
    scaler.load_state_dict({**state, "scale": scale, "_growth_tracker": good})
    return False
