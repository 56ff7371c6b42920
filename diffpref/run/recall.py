"""Points and the reference's measurements computed once per draw, kept in the cache, and recalled.

With a frozen reference and K draws per row, everything but the policy's own pass is the same in
every epoch. Inversion by the reference is the dear part of it (METHODS_OFFLINE.md, 1.4).
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import torch
from torch import Tensor

from diffpref.config.schema import RunConfig
from diffpref.data.batches import CachedPairs
from diffpref.data.shelf import Entry, Shelf, open_shelf
from diffpref.draws import RNG_SCHEME, Draws
from diffpref.errors import ConfigError
from diffpref.models import Bundle
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

FOLDER = "points"
PER_SHARD = 256
"""Prompts computed between two saves."""

Progress = Callable[[int, int | None], None]


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


def _nobody(*_: object) -> Latents:
    raise ConfigError(
        "these points depend on the policy, which moves, so they cannot be kept",
        where="data.recall",
        hint="invert with the reference (method.network: reference), or set data.recall: false",
    )


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


def shelf_of(config: RunConfig, bundle: Bundle, pairs: CachedPairs) -> Shelf:
    """Open the shelf of exactly these points; anything that changes them is another shelf."""
    data = config.data
    assert data is not None  # check_fits
    method = config.model_dump(mode="json", include={"method", "parts", "seed"})
    what = {
        **method,
        "data": pairs.cache.fingerprint,
        "model": bundle.fingerprint,
        "dtype": str(bundle.dtype),
        "draws_per_row": data.draws_per_row,
        "caption_drop": data.caption_drop,
        "rng_scheme": RNG_SCHEME,
    }
    text = json.dumps(what, sort_keys=True)
    name = blake2b(text.encode(), digest_size=8).hexdigest()
    return open_shelf(pairs.cache.root / FOLDER / name, {"what": text})


@torch.no_grad()
def fill(
    shelf: Shelf,
    objective: PreferenceObjective[Noised],
    reference: Denoiser,
    pairs: CachedPairs,
    *,
    rows_per_pass: int,
    progress: Progress | None = None,
) -> None:
    """Compute what the shelf lacks of all rows and draws; repeat it to resume.

    Goes through the windows of the first K epochs as training will, so that what is kept was
    computed in the same batches.

    Raises:
        ConfigError: the points depend on the policy.
        DiskError: the disk is full; what was kept stays.
    """
    nets = Nets(policy=_nobody, reference=reference)
    waiting: dict[str, Entry] = {}
    for done, total, batch in _epochs(pairs):
        missing = [str(int(p)) for p in batch.positions]
        if any(name not in shelf and name not in waiting for name in missing):
            point = objective.draw(nets, batch, Draws(pairs.seed, batch.positions))
            slices = (slice(i, i + rows_per_pass) for i in range(0, len(point), rows_per_pass))
            measured = torch.cat([objective.measure(reference, point.rows(s)) for s in slices])
            waiting |= _entries(missing, point, measured, batch.score.shape[1])
        if len(waiting) >= PER_SHARD or done == total:
            shelf.put({name: entry for name, entry in waiting.items() if name not in shelf})
            waiting = {}
        if progress is not None:
            progress(done, total)


def _epochs(pairs: CachedPairs) -> Iterator[tuple[int, int, PreferenceBatch]]:
    """Yield windows until every row had its K visits, with (draws seen, draws in all)."""
    k = pairs.draws_per_row or 1
    total, seen = len(pairs.cache.rows) * k, set[tuple[int, int]]()
    for visits, batch in zip(pairs.order.visits(), pairs.windows(), strict=False):
        seen |= {(row, visit % k) for row, visit in visits}
        yield len(seen), total, batch
        if len(seen) == total:
            return


def _entries(names: list[str], point: Noised, measured: Measure, images: int) -> dict[str, Entry]:
    parts = {"x_t": point.x_t, "t": point.t, "noise": point.noise, "reference": measured}
    if point.step_noise is not None:
        parts["step_noise"] = point.step_noise
    return {
        name: Entry(
            tensors={
                part: value[i * images : (i + 1) * images].cpu().contiguous()
                for part, value in parts.items()
            },
            numbers=(int(point.step_noise is not None),),
        )
        for i, name in enumerate(names)
    }
