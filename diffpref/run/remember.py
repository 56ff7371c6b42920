"""Computes the points that a run with `data.recall` learns from, once per draw, and keeps them."""

import json
from collections.abc import Callable, Iterator
from hashlib import blake2b

import torch
from accelerate import Accelerator

from diffpref.config.schema import RunConfig
from diffpref.data.batches import CachedPairs
from diffpref.data.shelf import Entry, Shelf, open_shelf
from diffpref.draws import RNG_SCHEME, Draws
from diffpref.errors import ConfigError
from diffpref.models import Bundle
from diffpref.objective import PreferenceObjective
from diffpref.run.recall import RecalledObjective
from diffpref.run.references import make_reference
from diffpref.types import (
    AnyObjective,
    Denoiser,
    Latents,
    Measure,
    Nets,
    Noised,
    PreferenceBatch,
)

FOLDER = "points"


PER_SHARD = 256
"""Prompts computed between two saves."""


Progress = Callable[[int, int | None], None]


def _nobody(*_: object) -> Latents:
    raise ConfigError(
        "these points depend on the policy, which moves, so they cannot be kept",
        where="data.recall",
        hint="invert with the reference (method.network: reference), or set data.recall: false",
    )


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


def recalled(
    config: RunConfig,
    accelerator: Accelerator,
    bundle: Bundle,
    objective: AnyObjective,
    pairs: CachedPairs,
    *,
    rows_per_pass: int,
    progress: Progress | None,
) -> RecalledObjective:
    """Return the objective on kept points; every process computes its share of what is missing.

    Raises:
        ConfigError: the method's points cannot be kept.
    """
    if not isinstance(objective, PreferenceObjective):
        raise ConfigError(
            f"the points of {config.method.name} are its own rollouts",
            where="data.recall",
            hint="set data.recall: false",
        )
    shelf = shelf_of(config, bundle, pairs)
    reference = make_reference(config.reference, bundle, pairs)
    assert reference.net is not None  # check_fits has refused the kinds without one
    with reference.at_hand():
        fill(shelf, objective, reference.net, pairs, rows_per_pass=rows_per_pass, progress=progress)
    accelerator.wait_for_everyone()
    return RecalledObjective(
        objective=objective, shelf=open_shelf(shelf.folder), device=bundle.device
    )
