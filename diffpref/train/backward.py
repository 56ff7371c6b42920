"""One optimizer step's gradient, holding the activations of only as many rows as fit."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from diffpref.draws import Draws
from diffpref.train.passes import AHEAD, in_passes, measures_twice, slices
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
    rows_ahead: int | None = None,
    gather: Gather | None = None,
    rank: int = 0,
    drawing: Context = nullcontext,
    referring: Context = nullcontext,
    unsynced: Context = nullcontext,
) -> Loss:
    """Add the gradient of `scale` x the window's loss to the policy's parameters.

    Draws everything, measures the reference on all rows, then the policy `rows_per_pass` rows at a
    time. Where prompts do not meet in the loss and every pass holds whole prompts, each pass is
    compared and differentiated at once. Else the loss couples passes through their measurements: it
    is differentiated first with respect to those, and the rows are then replayed with that
    gradient, which costs one more policy forward. The gradient is that of one pass over all rows.

    Args:
        objective: the method.
        nets: the policy, which receives the gradient, and the reference.
        window: all rows this process gives to one optimizer step.
        draws: keyed by the window's positions.
        scale: factor on the gradient, such as a loss scaler's.
        rows_per_pass: rows (images) whose activations are held at once; None holds all of them.
        rows_ahead: rows of a pass without gradient. None is `AHEAD` x rows_per_pass while drawing
            and rows_per_pass for the reference, so that equal networks measure equal.
        gather: concatenates a tensor over processes in order of rank; used when the objective
            couples prompts. Every process must hold equally many rows.
        rank: this process's place in what `gather` returns.
        drawing: makes a context to draw in, where processes may call networks differently often.
        referring: makes a context in which the reference is called for the whole window.
        unsynced: makes a context in which backward does not synchronise processes; entered for
            all passes but the last.

    Returns:
        The detached loss and metrics of this process's prompts.

    Raises:
        ValueError: rows_per_pass is below 1.
    """
    if rows_per_pass is not None and rows_per_pass < 1:
        raise ValueError(f"loop.rows_per_pass must be at least 1, got {rows_per_pass}")
    ahead = rows_ahead or (None if rows_per_pass is None else AHEAD * rows_per_pass)
    with torch.no_grad():
        with drawing():
            point = objective.draw(in_passes(nets, ahead), window, draws)
        size = rows_per_pass or len(point)
        reference = None
        if nets.reference is not None:
            with referring():
                reference = _measured(objective, nets.reference, point, rows_ahead or size)
    compared = partial(_compared, objective, point, scale=scale, gather=gather, rank=rank)
    if not measures_twice(objective, rows=len(point), prompts=len(point.score), size=size):
        how = _InTurn(objective=objective, net=nets.policy, compared=compared, unsynced=unsynced)
        return how.go(point, reference, size)
    with torch.no_grad():
        policy = _measured(objective, nets.policy, point, size)
    loss, grad = compared(policy, reference)
    for index in slices(len(point), size):
        with _quiet(index, point, unsynced):
            torch.autograd.backward(objective.measure(nets.policy, point.rows(index)), grad[index])
    return loss


@dataclass(frozen=True, kw_only=True)
class _InTurn(Generic[B, P]):
    """Measures, compares and goes backward pass by pass, where other prompts do not matter."""

    objective: Objective[B, P]
    net: Denoiser
    compared: Callable[[Measure, Measure | None], tuple[Loss, Measure]]
    unsynced: Context

    def go(self, point: P, reference: Measure | None, size: int) -> Loss:
        rows, parts, loss = len(point), list[Measure](), None
        for index in slices(rows, size):
            policy = self.objective.measure(self.net, point.rows(index))
            parts.append(policy.detach())
            # stands for the others too, which changes nothing: a value of theirs it surely is
            others = (torch.arange(rows, device=policy.device) - index.start) % len(policy)
            loss, grad = self.compared(policy.detach()[others], reference)
            with _quiet(index, point, self.unsynced):
                torch.autograd.backward(policy, grad[index])
        if loss is not None and len(parts) == 1:
            return loss
        with torch.no_grad():
            whole = self.objective.compare(torch.cat(parts), reference, point)
        return _detached(whole, slice(None))


def _quiet(index: slice, point: Point, unsynced: Context) -> AbstractContextManager[object]:
    return nullcontext() if index.stop >= len(point) else unsynced()


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
    return torch.cat([objective.measure(net, point.rows(s)) for s in slices(len(point), size)])


def _detached(loss: Loss, own: slice) -> Loss:
    metrics = {name: value.detach()[own] for name, value in loss.metrics.items()}
    return Loss(loss.value.detach(), metrics)
