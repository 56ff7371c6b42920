"""A whole `train-reward --head bt-prior`: votes of many people to a population file."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffpref.data.source_parts import parts_of
from diffpref.data.votes import read_votes
from diffpref.io import write_json
from diffpref.rewards import LoadedScorer
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.run.train_reward import SUMMARY, Watchers
from diffpref.users.choose import Search, learn_prior, split_people
from diffpref.users.prior_file import FILE, save_prior


@dataclass(frozen=True, kw_only=True)
class PriorJob:
    """What to learn a population from, and where to write it."""

    source: str
    out: Path
    cache: Path
    format: str | None = None
    rows: int | None = None
    batch: int = 64
    search: Search | None = None


def train_prior(
    job: PriorJob, scorer: LoadedScorer, watch: Watchers | None = None
) -> dict[str, Any]:
    """Learn a population and write prior.safetensors and report.json.

    Args:
        job: what to learn it from.
        scorer: the embedder, which has two towers.
        watch: who is told.

    Returns:
        What report.json holds.

    Raises:
        DataError: no votes, or too few people.
        UsageError: the scorer has no embeddings.
    """
    tell, began = watch or Watchers(), time.monotonic()
    parts = parts_of(job.source, job.format, job.rows)
    # The test part is not even read, so that a population cannot have seen it.
    sources = {name: each for name, each in parts.items() if name != "test"}
    store = EmbeddingStore(job.cache, scorer, batch=job.batch)
    votes = read_votes(sources, store, progress=tell.embedding)
    train, held = split_people(votes.pairs, votes.parts)
    ref = EmbedderRef(scorer=scorer.info.id, fingerprint=store.fingerprint)
    prior = learn_prior(
        train, held, ref, name=job.out.name, search=job.search, progress=tell.training
    )
    save_prior(job.out / FILE, prior)
    summary = {
        "source": job.source,
        "head": "bt-prior",
        "embedder": asdict(ref),
        "sha256": prior.sha256,
        "features": len(prior.spread.mean),
        "rank": prior.size // 2,
        **prior.about,
        "bad_rows": len(votes.bad),
        "seconds": round(time.monotonic() - began, 2),
    }
    write_json(job.out / SUMMARY, summary)
    return summary
