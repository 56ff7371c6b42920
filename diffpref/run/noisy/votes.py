"""The votes of a source in their roles, cached as latents and looked at as noisy ones."""

from collections.abc import Mapping

from diffpref.data.build import build_cache
from diffpref.data.cache import Cache
from diffpref.data.filters import Filters
from diffpref.data.plan import CacheSettings
from diffpref.data.source_parts import parts_of
from diffpref.errors import DataError
from diffpref.evaluate.implicit import grid_steps
from diffpref.models import Bundle
from diffpref.rewards import LoadedScorer
from diffpref.rewards.heads.division import roles_of
from diffpref.rewards.heads.embeddings import fingerprint
from diffpref.rewards.noisy.pairs import NoisyPairs, join
from diffpref.rewards.noisy.reward import make_look
from diffpref.run.noisy.job import NoisyJob, NoisyWatchers
from diffpref.run.noisy.points import Looking

LOOKS = "looks"
Kept = Mapping[str, Mapping[str, list[int]]]
"""Role -> part -> rows."""


def look_at_votes(
    job: NoisyJob, bundle: Bundle, scorer: LoadedScorer | None, tell: NoisyWatchers
) -> dict[str, NoisyPairs]:
    """Return the looked-at votes of train, test and, if there are some, validation.

    Training votes are noised at steps of their own, the others at one grid of steps and with own
    noise for every image.

    Raises:
        DataError: no votes, or none of them left for training or the test.
        UsageError: the scorer has no embeddings.
    """
    caches = _caches(job, bundle, tell)
    kept = _roles(caches)
    if not {"train", "test"} <= kept.keys():
        hint = "give more votes: rows of two or more images, on several prompts"
        raise DataError("no votes to train on, or to test", where=job.source, hint=hint)
    look = make_look(job.kind, bundle, scorer)
    known = (job.kind, bundle.fingerprint, "" if scorer is None else fingerprint(scorer.info))
    grid = grid_steps(len(bundle.schedule), job.bins)
    found: dict[str, NoisyPairs] = {}
    for role, parts in kept.items():
        training = role == "train"
        found[role] = join(
            [
                Looking(
                    cache=caches[part],
                    rows=tuple(rows),
                    bundle=bundle,
                    look=look,
                    folder=job.cache / LOOKS,
                    part=part,
                    role=role,
                    seed=job.fit.seed,
                    draws=job.draws if training else job.bins,
                    batch=job.batch,
                    known=known,
                    grid=None if training else grid,
                    shared=training and job.noise == "shared",
                ).pairs(tell.looking)
                for part, rows in parts.items()
            ]
        )
    return found


def _roles(caches: Mapping[str, Cache]) -> Kept:
    """Return which rows are for what; single images are no votes."""
    places = [
        (part, number)
        for part, cache in caches.items()
        for number, row in enumerate(cache.rows)
        if len(row.images) > 1
    ]
    prompts = [caches[part].rows[number].prompt for part, number in places]
    roles = roles_of(prompts, [part for part, _ in places])
    kept: dict[str, dict[str, list[int]]] = {}
    for role, (part, number) in zip(roles, places, strict=True):
        kept.setdefault(role, {}).setdefault(part, []).append(number)
    return kept


def _caches(job: NoisyJob, bundle: Bundle, tell: NoisyWatchers) -> dict[str, Cache]:
    """Return the cached latents of every part of the source; ties are kept."""
    return {
        part: build_cache(
            source,
            bundle,
            job.cache,
            settings=CacheSettings(buckets=False, seed=job.fit.seed),
            filters=Filters(ties="soft"),
            progress=tell.encoding,
        )
        for part, source in parts_of(job.source, job.format, job.rows).items()
    }
