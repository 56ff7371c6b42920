"""Windows of cached rows: what one optimizer step is given, as a function of (seed, step)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.data.cache import Cache
from diffpref.data.order import Order, evenly
from diffpref.data.rows import CachedRow
from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.types import Nets, PreferenceBatch

TimeIds = Callable[
    [Int[Tensor, "n 2"], Int[Tensor, "n 2"], Int[Tensor, "n 2"]], Float[Tensor, "n 6"] | None
]
"""(original size, crop, target size) of images -> what the model's family is told of them."""


Effort = Callable[[Draws], Int[Tensor, " b"] | None]


@runtime_checkable
class Users(Protocol):
    """Whom rows are for.

    arranged: may replace rows of a step, each (row, position that keys its draws).
    tell: adds the users to a batch of rows of these numbers.
    """

    def arranged(self, drawn: Sequence[tuple[int, int]], /) -> Sequence[tuple[int, int]]: ...

    def tell(self, batch: PreferenceBatch, numbers: Sequence[int], /) -> PreferenceBatch: ...


@dataclass(frozen=True, kw_only=True)
class CachedPairs:
    """The `Source` of a run on cached rows; a row may have any number of images, one included.

    The prompt at place i of step s has the global position s * prompts_per_step + i, which keys
    all its draws: the posterior sample of each image and whether its caption is dropped. Rank r of
    w takes places r, r + w, r + 2 w ..., of the prompts sorted by `effort` if there is one. So the
    prompts of a step, and everything drawn for them, are the same for any number of processes.

    prompts_per_step: prompts of one optimizer step over all processes.
    time_ids: `family.time_ids` of the model.
    caption_drop: how often a caption is replaced by the empty one.
    draws_per_row: K, if a row has only K different draws, which it goes through in turn; its v-th
        visit then has the position row * K + v mod K instead.
    users: tells every batch whom its rows are for; None leaves them without users.
    effort: a step's draws -> work of each prompt, which is shared evenly by the processes; None,
        or a result of None, is as much for each.
    """

    cache: Cache
    seed: int
    prompts_per_step: int
    time_ids: TimeIds
    caption_drop: float = 0.0
    draws_per_row: int | None = None
    rank: int = 0
    world: int = 1
    users: Users | None = None
    effort: Effort | None = None

    def __post_init__(self) -> None:
        if self.prompts_per_step < 1 or self.prompts_per_step % self.world:
            near = max(self.world, self.prompts_per_step // self.world * self.world)
            raise ConfigError(
                f"{self.prompts_per_step} prompts per step cannot be shared by {self.world} "
                "processes",
                where="data",
                hint=f"make it a multiple of {self.world}, for example {near}",
            )

    def __call__(self, nets: Nets, first: int) -> Iterator[PreferenceBatch]:
        """Yield this process's part of every window from step `first` on, for ever."""
        del nets  # offline data do not depend on the networks
        return self.windows(first)

    def windows(self, first: int = 0) -> Iterator[PreferenceBatch]:
        """Yield this process's part of every window from step `first` on, for ever."""
        for step, visits in enumerate(self.order.visits(first), start=first):
            start = step * self.prompts_per_step
            drawn: Sequence[tuple[int, int]] = [
                (row, self._position(start + place, row, visit))
                for place, (row, visit) in enumerate(visits)
            ]
            if self.users is not None:
                drawn = self.users.arranged(drawn)
            mine = [drawn[place] for place in self._mine([position for _, position in drawn])]
            positions = torch.tensor([position for _, position in mine])
            yield self.batch_of([row for row, _ in mine], positions)

    def _mine(self, positions: Sequence[int]) -> Sequence[int]:
        """Return this process's places in a step."""
        places: Sequence[int] = range(len(positions))
        if self.effort is not None and self.world > 1:
            efforts = self.effort(Draws(self.seed, torch.tensor(positions)))
            places = places if efforts is None else evenly(efforts, self.world)
        return places[self.rank :: self.world]

    def _position(self, place: int, row: int, visit: int) -> int:
        """Return what keys a prompt's draws: its place in the run, or one of K per row."""
        k = self.draws_per_row
        return place if k is None else row * k + visit % k

    @property
    def order(self) -> Order:
        """Which rows make up every window, over all processes."""
        groups = [group.rows for group in self.cache.groups]
        return Order(groups=groups, seed=self.seed, size=self.prompts_per_step)

    def window(self, step: int) -> PreferenceBatch:
        """Return this process's part of the window of one step."""
        return next(islice(self.windows(step), 1))

    def groups(self) -> list[list[int]]:
        """Return the row numbers of every group of the cache."""
        return [group.rows.tolist() for group in self.cache.groups]

    def batch_of(
        self, numbers: Sequence[int], positions: Int[Tensor, " b"], *, drop: bool = True
    ) -> PreferenceBatch:
        """Return the rows of these numbers, drawn with these positions.

        All must be of one group; without `drop` every caption is kept.
        """
        rows = [self.cache.rows[number] for number in numbers]
        draws = Draws(self.seed, positions)
        share = self.caption_drop if drop else 0.0
        dropped = (draws.uniform("drop") < share).tolist()
        prompts = tuple("" if drop else row.prompt for row, drop in zip(rows, dropped, strict=True))
        weights = torch.tensor([row.weight for row in rows])
        batch = PreferenceBatch(
            latents=self._sample(rows, draws),
            cond=self.cache.conditioning(prompts),
            score=torch.tensor([row.scores for row in rows]),
            positions=positions,
            prompts=tuple(row.prompt for row in rows),
            weight=weights if self.cache.weighted else None,
            time_ids=self._time_ids(rows),
            uncond=self.cache.conditioning(("",)).map(lambda x: x.expand(len(rows), *x.shape[1:])),
        )
        return batch if self.users is None else self.users.tell(batch, numbers)

    def _sample(self, rows: list[CachedRow], draws: Draws) -> Float[Tensor, "b k c h w"]:
        """Sample every image's posterior; each image of a prompt has a draw of its own."""
        posteriors = [self.cache.posterior(row) for row in rows]
        mean = torch.stack([mean for mean, _ in posteriors])
        std = torch.stack([std for _, std in posteriors])
        return mean + std * draws.normal("posterior", tuple(mean.shape[2:]), images=mean.shape[1])

    def _time_ids(self, rows: list[CachedRow]) -> Float[Tensor, "b k 6"] | None:
        numbers = torch.stack([self.cache.geometry(row) for row in rows])
        flat = numbers.flatten(0, 1)
        told = self.time_ids(flat[:, :2], flat[:, 2:4], flat[:, 4:])
        return None if told is None else told.view(*numbers.shape[:2], 6)
