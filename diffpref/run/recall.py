"""Points and the reference's measurements computed once per draw, kept in the cache, and recalled.

With a frozen reference and K draws per row, everything but the policy's own pass is the same in
every epoch. Inversion by the reference is the dear part of it (METHODS_OFFLINE.md, 1.4).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffpref.data.shelf import Shelf
from diffpref.draws import Draws
from diffpref.objective import PreferenceObjective
from diffpref.types import (
    Denoiser,
    Latents,
    Loss,
    Measure,
    Nets,
    Noised,
    PerImage,
    PerPrompt,
    PreferenceBatch,
    Steps,
)


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """A point and what the reference measured there."""

    point: Noised
    reference: Measure

    @property
    def score(self) -> PerImage:
        return self.point.score

    @property
    def t(self) -> Steps:
        return self.point.t

    @property
    def weight(self) -> PerPrompt | None:
        return self.point.weight

    def __len__(self) -> int:
        return len(self.point)

    def rows(self, index: slice, /) -> "Recalled":
        return Recalled(point=self.point.rows(index), reference=self.reference[index])

    def gathered(self, gather: Callable[[Tensor], Tensor], /) -> "Recalled":
        point = self.point.gathered(gather)
        shape = (len(point), *self.reference.shape[1:])
        return Recalled(point=point, reference=torch.empty(shape, device="meta"))


def memory(*_: object) -> Latents:
    """Stand for the reference: what it measured is recalled, it is never run."""
    raise RuntimeError("the reference was to be recalled, not run")


@dataclass(frozen=True, kw_only=True)
class RecalledObjective:
    """An objective whose points and reference measurements come from a shelf.

    `draws` of the wrapped objective are not repeated: the point of a prompt is the one that was
    kept under its position.
    """

    objective: PreferenceObjective[Noised]
    shelf: Shelf = field(repr=False)
    device: torch.device

    @property
    def couples_batch(self) -> bool:
        return self.objective.couples_batch

    @property
    def prompts_apart(self) -> bool:
        return self.objective.prompts_apart

    @property
    def first_loss(self) -> float | None:
        return self.objective.first_loss

    @property
    def state(self) -> Mapping[str, Tensor]:
        return self.objective.state

    def learn(self, metrics: Mapping[str, PerPrompt]) -> None:
        self.objective.learn(metrics)

    def draw(self, nets: Nets, batch: PreferenceBatch, draws: Draws, /) -> Recalled:
        """Read the batch's points from the shelf."""
        del nets, draws
        names = [str(int(position)) for position in batch.positions]

        def rows(part: str) -> Tensor:
            return torch.cat([self.shelf.read(name, part) for name in names])

        (stepped,) = self.shelf.numbers(names[0])
        point = Noised(
            x_t=rows("x_t"),
            t=rows("t"),
            noise=rows("noise"),
            cond=batch.row_cond(),
            score=batch.score,
            weight=batch.weight,
            step_noise=rows("step_noise") if stepped else None,
        )
        return Recalled(point=point, reference=rows("reference"))

    def measure(self, net: Denoiser, point: Recalled, /) -> Measure:
        """Measure the policy; recall the reference."""
        if net is memory:
            return point.reference.to(self.device)
        return self.objective.measure(net, point.point)

    def compare(self, policy: Measure, reference: Measure | None, point: Recalled, /) -> Loss:
        return self.objective.compare(policy, reference, point.point)
