"""The cached data a configuration asks for."""

from collections.abc import Callable
from pathlib import Path

from diffpref.config.schema import DataConfig
from diffpref.data.batches import CachedPairs, Effort, Users
from diffpref.data.build import build_cache
from diffpref.data.cache import Cache
from diffpref.data.filters import Filters
from diffpref.data.labels import relabelled
from diffpref.data.plan import CacheSettings
from diffpref.data.readers import RecordSource, open_records
from diffpref.data.unpair import unpaired
from diffpref.models import Bundle

Progress = Callable[[int, int | None], None]


def source_of(config: DataConfig) -> RecordSource:
    """Return the records a run learns from, relabelled and taken apart as it asks."""
    source = open_records(config.source, format=config.format, split=config.split)
    if config.labels is not None:
        source = relabelled(source, Path(config.labels))
    return unpaired(source) if config.unpaired else source


def filters_of(config: DataConfig) -> Filters:
    return Filters(
        ties=config.ties,
        absolute_winners=config.absolute_winners,
        generators=config.generators,
        min_side=config.min_side,
        max_rows=config.max_rows,
    )


def cache_of(
    config: DataConfig, bundle: Bundle, seed: int, progress: Progress | None = None
) -> Cache:
    """Return the cache of the data, encoding only what is not there yet."""
    settings = CacheSettings(
        resolution=config.resolution,
        dtype=config.cache_dtype,
        buckets=config.buckets,
        crop=config.crop,
        seed=seed,
        on_bad_row=config.on_bad_row,
        max_bad_fraction=config.max_bad_fraction,
    )
    return build_cache(
        source_of(config),
        bundle,
        Path(config.cache),
        settings=settings,
        filters=filters_of(config),
        overlong=bundle.text.overlong,
        progress=progress,
    )


def windows_of(
    config: DataConfig,
    cache: Cache,
    bundle: Bundle,
    *,
    seed: int,
    micro_batches: int,
    rank: int,
    world: int,
    users: Users | None = None,
    effort: Effort | None = None,
) -> CachedPairs:
    """Return the source of windows: pairs_per_batch x micro_batches prompts per process."""
    return CachedPairs(
        cache=cache,
        seed=seed,
        prompts_per_step=config.pairs_per_batch * micro_batches * world,
        time_ids=bundle.family.time_ids,
        caption_drop=config.caption_drop,
        draws_per_row=config.draws_per_row,
        rank=rank,
        world=world,
        users=users,
        effort=effort,
    )
