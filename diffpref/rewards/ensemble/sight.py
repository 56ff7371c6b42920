"""What several scorers see of one picture, in one tensor, and apart again.

A row is: how many parts, then of each part its number of axes and their lengths, then the numbers
of all parts. Lengths are exact in float32 up to 2^24. Putting together and taking apart are
differentiable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.rewards.sight import Picture, Pixels, Sight

Packed = Float[Tensor, "n l"]


@dataclass(frozen=True, kw_only=True)
class Together:
    """The sights of several scorers, each as it is alone."""

    sights: tuple[Sight, ...]

    @property
    def id(self) -> str:
        return " + ".join(dict.fromkeys(sight.id for sight in self.sights))

    def reference(self, picture: Picture, /) -> Float[Tensor, " l"]:
        return pack([sight.reference(picture)[None] for sight in self.sights])[0]

    def smooth(self, pixels: Pixels, /) -> Packed:
        return pack([sight.smooth(pixels) for sight in self.sights])


def pack(parts: Sequence[Tensor]) -> Packed:
    """Return parts [n ...], float32, as rows."""
    head = [float(len(parts))]
    for part in parts:
        head += [float(part.ndim - 1), *map(float, part.shape[1:])]
    rows = len(parts[0])
    start = torch.tensor(head, device=parts[0].device).expand(rows, -1)
    return torch.cat([start, *(part.float().flatten(1) for part in parts)], dim=1)


def unpack(seen: Packed) -> list[Tensor]:
    """Return the parts of rows that all have one and the same beginning."""
    told = iter(seen[0].tolist())
    shapes = [[int(next(told)) for _ in range(int(next(told)))] for _ in range(int(next(told)))]
    at = 1 + sum(1 + len(shape) for shape in shapes)
    parts: list[Tensor] = []
    for shape in shapes:
        parts.append(seen[:, at : at + prod(shape)].reshape(len(seen), *shape))
        at += prod(shape)
    return parts


def alike(seen: Packed) -> list[list[int]]:
    """Return the numbers of the rows that can be taken apart together.

    Pictures of different proportions may give rows of one length.
    """
    groups: dict[tuple[float, ...], list[int]] = {}
    for number, row in enumerate(seen):
        groups.setdefault(_shapes(row), []).append(number)
    return list(groups.values())


def _shapes(row: Float[Tensor, " l"]) -> tuple[float, ...]:
    end = 1
    for _ in range(int(row[0])):
        end += 1 + int(row[end])
    return tuple(row[:end].tolist())
