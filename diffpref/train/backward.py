"""One optimizer step's gradient, holding the activations of only as many rows as fit."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from diffpref.draws import Draws
from diffpref.types import Denoiser, Loss, Measure, Nets, Objective, Point

B = TypeVar("B")
P = TypeVar("P", bound=Point)
Gather = Callable[[Tensor], Tensor]
Context = Callable[[], AbstractContextManager[object]]


def accumulate(
    objective: Objective[B, P],
    nets: Nets,
    window: B,
    draws: Draws,
    *,
    scale: float = 1.0,
    rows_per_pass: int | None = None,
    gather: Gather | None = None,
    rank: int = 0,
    drawing: Context = nullcontext,
    unsynced: Context = nullcontext,
) -> Loss:
    """Add the gradient of `scale` x the window's loss to the policy's parameters.

    Draws everything, measures the reference, then the policy. The loss couples rows only through
    their measurements, so it is differentiated first with respect to those, and the rows are then
    replayed `rows_per_pass` at a time with that gradient. This costs one more policy forward and
    gives the same gradient as one pass over all rows.

    Args:
        objective: the method.
        nets: the policy, which receives the gradient, and the reference.
        window: all rows this process gives to one optimizer step.
        draws: keyed by the window's positions.
        scale: factor on the gradient, such as a loss scaler's.
        rows_per_pass: rows (images) whose activations are held at once; None holds all of them
            and saves the extra forward.
        gather: concatenates a tensor over processes in order of rank; used when the objective
            couples prompts. Every process must hold equally many rows.
        rank: this process's place in what `gather` returns.
        drawing: makes a context to draw in, where processes may call networks differently often.
        unsynced: makes a context in which backward does not synchronise processes; entered for
            all passes but the last.

    Returns:
        The detached loss and metrics of this process's prompts.

    Raises:
        ValueError: rows_per_pass is below 1.
    """
    if rows_per_pass is not None and rows_per_pass < 1:
        raise ValueError(f"loop.rows_per_pass must be at least 1, got {rows_per_pass}")
    with torch.no_grad():
        with drawing():
            point = objective.draw(nets, window, draws)
        size = rows_per_pass or len(point)
        reference = (
            None if nets.reference is None else _measured(objective, nets.reference, point, size)
        )
    compared = partial(_compared, objective, point, scale=scale, gather=gather, rank=rank)
    if size >= len(point):
        policy = objective.measure(nets.policy, point)
        loss, grad = compared(policy, reference)
        torch.autograd.backward(policy, grad)
        return loss
    with torch.no_grad():
        policy = _measured(objective, nets.policy, point, size)
    loss, grad = compared(policy, reference)
    for index in _slices(len(point), size):
        last = index.stop >= len(point)
        with nullcontext() if last else unsynced():
            torch.autograd.backward(objective.measure(nets.policy, point.rows(index)), grad[index])
    return loss


def _compared(
    objective: Objective[B, P],
    point: P,
    policy: Measure,
    reference: Measure | None,
    *,
    scale: float,
    gather: Gather | None,
    rank: int,
) -> tuple[Loss, Measure]:
    """Return the loss and scale x d loss / d this process's measurements.

    With gathered rows every process computes the same loss; its gradient is multiplied by the
    number of processes because synchronisation averages over them.
    """
    mine, rows = policy.detach(), len(policy)
    if gather is None or not objective.couples_batch:
        leaf = mine.requires_grad_()
        loss = objective.compare(leaf, reference, point)
        (grad,) = torch.autograd.grad(scale * loss.value, leaf)
        return _detached(loss, slice(None)), grad
    leaf = gather(mine).detach().requires_grad_()
    everyone = None if reference is None else gather(reference)
    whole = point.gathered(gather)
    loss = objective.compare(leaf, everyone, whole)
    processes = len(leaf) // rows
    (grad,) = torch.autograd.grad(scale * processes * loss.value, leaf)
    prompts = len(point.score)
    own = slice(rank * prompts, (rank + 1) * prompts)
    return _detached(loss, own), grad[rank * rows : (rank + 1) * rows]


def _measured(objective: Objective[B, P], net: Denoiser, point: P, size: int) -> Measure:
    return torch.cat([objective.measure(net, point.rows(s)) for s in _slices(len(point), size)])


def _slices(rows: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _detached(loss: Loss, own: slice) -> Loss:
    metrics = {name: value.detach()[own] for name, value in loss.metrics.items()}
    return Loss(loss.value.detach(), metrics)
