"""A whole `train-reward`: votes to embeddings, a head, its measurement, and a folder of results."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diffpref.data.readers import RecordSource
from diffpref.data.source_parts import parts_of
from diffpref.data.votes import Votes, read_votes
from diffpref.errors import DataError
from diffpref.evaluate.heads import measure
from diffpref.evaluate.known import Truth, read_truth
from diffpref.evaluate.reward_report import Findings, write_reward_report
from diffpref.evaluate.shots import Shot
from diffpref.io import write_json
from diffpref.rewards import LoadedScorer
from diffpref.rewards.heads.division import By, Division, divide
from diffpref.rewards.heads.embeddings import EmbeddingStore
from diffpref.rewards.heads.extras import Extra, open_extras
from diffpref.rewards.heads.files import save_head
from diffpref.rewards.heads.fit import fit_head
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.heads.settings import FitSettings

KNOWN = "builtin:pairs"
"""The source whose voters' tastes are known exactly."""

SUMMARY, REPORT = "report.json", "report.html"
Tell = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class RewardJob:
    """What to train: a head of which kind, on which votes and whose embeddings."""

    source: str
    head: str
    out: Path
    cache: Path
    by: By = "user"
    format: str | None = None
    rows: int | None = None
    batch: int = 64
    fit: FitSettings = field(default_factory=FitSettings)


@dataclass(frozen=True, kw_only=True)
class Watchers:
    """Who is told about progress; None tells nobody."""

    embedding: Tell | None = None
    training: Tell | None = None
    people: Tell | None = None


def train_reward(
    job: RewardJob,
    scorer: LoadedScorer,
    watch: Watchers | None = None,
    *,
    extras: Sequence[Extra] = (),
) -> dict[str, Any]:
    """Train a head, measure it, and write head.json, head.safetensors, report.json, report.html.

    Args:
        job: what to train.
        scorer: the embedder, which has two towers.
        watch: who is told.
        extras: what else the head reads of a picture.

    Returns:
        What report.json holds.

    Raises:
        DataError: no votes, or none of them left for training or the test.
        UsageError: the scorer has no embeddings.
    """
    tell = watch or Watchers()
    began = time.monotonic()
    sources = parts_of(job.source, job.format, job.rows)
    store = EmbeddingStore(job.cache, scorer, batch=job.batch)
    opened = open_extras(extras, store, batch=job.batch)
    votes = read_votes(sources, store, opened, progress=tell.embedding)
    embedded = time.monotonic()
    division = divide(votes.pairs, votes.parts, job.by)
    require_votes(division, job.source, job.by)
    embedder = EmbedderRef(
        scorer=scorer.info.id,
        fingerprint=store.fingerprint,
        extras=tuple(each.ref for each in opened),
    )
    fitted = fit_head(
        job.head,
        division.train,
        division.validation,
        job.fit,
        embedder=embedder,
        progress=tell.training,
    )
    trained = time.monotonic()
    measured = measure(fitted, division, job.by, _truth(job, sources, votes), progress=tell.people)
    save_head(job.out, measured.head)
    ended = time.monotonic()
    summary = {
        **_facts(job, votes, division, embedder),
        "best_step": fitted.best_step,
        "temperature": measured.head.temperature,
        "seconds": {
            "embed": round(embedded - began, 2),
            "train": round(trained - embedded, 2),
            "measure": round(ended - trained, 2),
        },
        **_plain(measured.findings),
    }
    write_json(job.out / SUMMARY, summary)
    _report(job, summary, measured.findings)
    return summary


def require_votes(division: Division, source: str, by: By) -> None:
    """Refuse a division that leaves nothing to train on or to test.

    Raises:
        DataError: says how many votes there are, and what else to try.
    """
    if not len(division.train) or not len(division.test):
        what = f"{len(division.train)} pairs to train on and {len(division.test)} to test"
        other = "prompt" if by == "user" else "user"
        raise DataError(what, where=source, hint=f"give more votes, or --split {other}")


def _truth(job: RewardJob, sources: Mapping[str, RecordSource], votes: Votes) -> Truth | None:
    return read_truth(sources, votes.pairs) if job.source == KNOWN else None


def _facts(
    job: RewardJob, votes: Votes, division: Division, embedder: EmbedderRef
) -> dict[str, Any]:
    counts = {name: len(getattr(division, name)) for name in vars(division)}
    return {
        "source": job.source,
        "head": job.head,
        "embedder": asdict(embedder),
        "split": job.by,
        "settings": asdict(job.fit),
        "pairs": counts,
        "people": {
            "train": len(division.train.voters()),
            "test": len(division.test.voters()),
        },
        "bad_rows": len(votes.bad),
    }


def _plain(findings: Findings) -> dict[str, Any]:
    taste = findings.taste
    return {
        "accuracy": [asdict(each) for each in findings.contenders],
        "reliability": asdict(findings.reliability),
        "new_people": _shots(findings.shots),
        "attainable_new_people": _shots(findings.attainable_shots),
        "taste": None
        if taste is None
        else {"cosine": taste.cosine, "personal": taste.personal, "people": len(taste.true)},
        "history": [dict(row) for row in findings.history],
    }


def _shots(found: Sequence[Shot]) -> list[dict[str, Any]]:
    return [{"votes": each.votes, **asdict(each.judged)} for each in found]


def _read(embedder: Mapping[str, Any]) -> str:
    """Return the names of all that a head reads."""
    return ", ".join([embedder["scorer"], *(each["name"] for each in embedder["extras"])])


def _report(job: RewardJob, summary: Mapping[str, Any], findings: Findings) -> None:
    pairs, people = summary["pairs"], summary["people"]
    new = "new people" if job.by == "user" else "new prompts of known people"
    write_reward_report(
        job.out / REPORT,
        findings,
        title=f"{job.head} on {_read(summary['embedder'])}",
        lead=f"{pairs['train']} votes of {people['train']} people to train, {pairs['test']} votes "
        f"of {people['test']} people to test: {new}.",
        note=f"Seed {job.fit.seed}, best at step {summary['best_step']} of {job.fit.steps}, "
        f"temperature {summary['temperature']:.2f}, float32 on the CPU.",
        details={
            **{f"settings.{name}": value for name, value in summary["settings"].items()},
            **{f"pairs.{name}": value for name, value in pairs.items()},
            **{f"seconds.{name}": value for name, value in summary["seconds"].items()},
            "source": job.source,
            "embedder": summary["embedder"],
        },
    )
