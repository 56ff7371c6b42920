"""Updates inside the backward pass: a gradient is used and let go as soon as it is known."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from diffpref.train.pieces import Piece, Pieces


@dataclass(frozen=True, kw_only=True)
class Eager:
    """An optimizer whose steps have been made when the backward pass ends.

    Every weight is updated once all of its gradient is there, so that gradients of few weights
    are held at once. From the first gradient that is not finite on, weights of the pass are left as
    they are, and their averages see a gradient of zero. Weights before it, nearer the network's
    output, have been updated: none where the loss was not finite, as that reaches every gradient.
    A second backward pass would be a second step.

    Attributes:
        pieces: one for each weight.
        square: the gradient's squared norm so far.
    """

    pieces: Pieces = field(repr=False)
    square: Tensor

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.pieces.param_groups

    def step(self) -> None:
        """Do nothing: it has been done."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the norm; gradients are gone already."""
        self.pieces.zero_grad(set_to_none)
        self.square.zero_()

    def norm(self) -> Tensor:
        """Return the gradient's norm."""
        return self.square.sqrt()


def eager(pieces: Pieces) -> Eager:
    """Return the optimizer, attached to its weights.

    Args:
        pieces: of one weight each.

    Raises:
        ValueError: a piece has several weights.
    """
    first = next(iter(pieces.pieces[0].weights.values()))
    found = Eager(pieces=pieces, square=torch.zeros((), device=first.device))
    for piece in pieces.pieces:
        if len(piece.weights) != 1:
            raise ValueError("a piece updated in the backward pass is of one weight")
        (weight,) = piece.weights.values()
        untyped = cast(Any, weight)  # as torch's method is
        untyped.register_post_accumulate_grad_hook(_hook(piece, found.square))
    return found


def _hook(piece: Piece, square: Tensor) -> Callable[[Tensor], None]:
    @torch.no_grad()
    def update(weight: Tensor) -> None:
        assert weight.grad is not None
        square.add_(weight.grad.float().square().sum())
        sound = square.isfinite()  # stays on the device: a question per weight would stall it
        weight.grad = torch.where(sound, weight.grad, 0)
        own = [weight, *(value for beside in piece.beside.values() for value in beside.values())]
        changing = [(value, value.clone()) for value in own if value.dim()]
        piece.step()
        for value, before in changing:
            value.copy_(torch.where(sound, value, before))
        weight.grad = None

    return update
