"""An optimizer in pieces: weights that are kept in few bits, flattened, or updated one by one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from diffpref.train.precision import Beside, Precision

Parameters = Mapping[str, nn.Parameter]
Make = Callable[[Parameters], Optimizer]

MATRIX = 2

NUMBERS = 1 << 25
"""Numbers that are wide at once while they are updated."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some weights, and the optimizer over what stands for them.

    A stand-in has a weight's numbers while it is updated, wide and in the shape the optimizer is to
    see, and nothing in between.
    """

    weights: Parameters
    stand_ins: Parameters
    inner: Optimizer
    precision: Precision
    beside: Mapping[str, Beside]
    seed: int

    @torch.no_grad()
    def step(self) -> None:
        """Update the weights that have a gradient."""
        given = [name for name, weight in self.weights.items() if weight.grad is not None]
        for name in given:
            weight, stand_in = self.weights[name], self.stand_ins[name]
            wide = self.precision.wide(weight, self.beside[name])
            assert weight.grad is not None
            stand_in.data = wide.reshape(stand_in.shape)
            stand_in.grad = weight.grad.to(wide.dtype).reshape(stand_in.shape)
        self.inner.step()
        for name in given:
            weight, stand_in = self.weights[name], self.stand_ins[name]
            wide = stand_in.data.reshape(weight.shape)
            self.precision.keep(wide, weight, self.beside[name], (self.seed, name))
            stand_in.data, stand_in.grad = _empty(stand_in.shape, wide), None


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """An optimizer made of pieces; it is used like torch's."""

    pieces: tuple[Piece, ...] = field(repr=False)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for piece in self.pieces for group in piece.inner.param_groups]

    def step(self) -> None:
        for piece in self.pieces:
            piece.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Let gradients go; there is no other way."""
        del set_to_none
        for piece in self.pieces:
            for weight in piece.weights.values():
                weight.grad = None

    def state_of(self, name: str) -> Mapping[str, Any]:
        """Return what a weight's optimizer keeps for it, and what it has beside it."""
        for piece in self.pieces:
            if name in piece.weights:
                return {**piece.inner.state[piece.stand_ins[name]], **piece.beside[name]}
        raise KeyError(name)

    def load(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Put back what `state_of` returned of every weight."""
        for piece in self.pieces:
            inner: dict[int, dict[str, Any]] = {}
            for number, name in enumerate(piece.weights):
                own = dict(state[name])
                for key, value in piece.beside[name].items():
                    value.copy_(own.pop(key))
                inner[number] = own
            groups = piece.inner.state_dict()["param_groups"]
            piece.inner.load_state_dict({"state": inner, "param_groups": groups})


def in_pieces(
    parameters: Parameters,
    make: Make,
    *,
    precision: Precision,
    seed: int,
    flat: bool = False,
    numbers: int = NUMBERS,
) -> Pieces:
    """Return an optimizer in pieces.

    Args:
        parameters: what trains.
        make: makes the optimizer of a piece over its stand-ins.
        precision: how weights are kept.
        seed: of random roundings.
        flat: convolutions are shown as matrices: [o i y x] as [o, i y x].
        numbers: largest piece; a weight that is larger is a piece of its own.
    """
    return Pieces(
        pieces=tuple(
            _piece(weights, make, precision, seed, flat) for weights in _cut(parameters, numbers)
        )
    )


def _piece(weights: Parameters, make: Make, precision: Precision, seed: int, flat: bool) -> Piece:
    stand_ins: dict[str, nn.Parameter] = {}
    for name, weight in weights.items():
        matrix = flat and weight.dim() > MATRIX
        shape = torch.Size((len(weight), weight[0].numel())) if matrix else weight.shape
        wide = torch.promote_types(weight.dtype, torch.float32)
        stand_ins[name] = nn.Parameter(_empty(shape, weight.detach().new_empty((), dtype=wide)))
    return Piece(
        weights=weights,
        stand_ins=stand_ins,
        inner=make(stand_ins),
        precision=precision,
        beside={name: precision.start(weight) for name, weight in weights.items()},
        seed=seed,
    )


def _empty(shape: torch.Size, like: Tensor) -> Tensor:
    """Return a tensor of a shape that holds one number."""
    return like.new_zeros(()).expand(shape)


def _cut(parameters: Parameters, numbers: int) -> Iterator[Parameters]:
    piece: dict[str, nn.Parameter] = {}
    total = 0
    for name, weight in parameters.items():
        if piece and total + weight.numel() > numbers:
            yield piece
            piece, total = {}, 0
        piece[name] = weight
        total += weight.numel()
    if piece:
        yield piece
