"""A whole `train-reward --head latent | step-aware`: latents, looks, head, report."""

import time
from dataclasses import asdict
from typing import Any

import torch

from diffpref.evaluate.noisy import measure_noisy
from diffpref.evaluate.reward_report import Findings, write_reward_report
from diffpref.io import write_json
from diffpref.models import Bundle
from diffpref.rewards import LoadedScorer
from diffpref.rewards.heads.embeddings import fingerprint
from diffpref.rewards.heads.head import EmbedderRef
from diffpref.rewards.noisy.files import SavedNoisy, probes_of, save_noisy
from diffpref.rewards.noisy.fit import FittedNoisy, fit_noisy
from diffpref.run.noisy.job import NoisyJob, NoisyWatchers
from diffpref.run.noisy.votes import look_at_votes
from diffpref.run.train_reward import REPORT, SUMMARY


def train_noisy(
    job: NoisyJob, bundle: Bundle, scorer: LoadedScorer | None, watch: NoisyWatchers | None = None
) -> dict[str, Any]:
    """Train a noisy reward, measure it by timestep, and write its folder and its report.

    Images are encoded once and every vote is looked at `draws` times, each at a t of its own; both
    are kept in `cache`, so that an interrupted run goes on and another head starts at once.

    Args:
        job: what to train.
        bundle: the base, without adapters.
        scorer: whose score a step-aware reward begins as; None for a latent one.
        watch: who is told.

    Returns:
        What report.json holds.

    Raises:
        DataError: no votes, or none of them left for training or the test.
        UsageError: the scorer has no embeddings.
    """
    tell, began = watch or NoisyWatchers(), time.monotonic()
    found = look_at_votes(job, bundle, scorer, tell)
    train, test = found["train"], found["test"]
    validation = found.get("validation", train.rows(torch.arange(0)))
    looked = time.monotonic()
    fitted = fit_noisy(
        train,
        validation,
        job.fit,
        length=len(bundle.schedule),
        hidden=job.hidden,
        progress=tell.training,
    )
    findings = measure_noisy(fitted, test, None if scorer is None else scorer.info.id)
    save_noisy(job.out, _to_save(job, bundle, scorer, fitted))
    summary = {
        "source": job.source,
        "head": job.kind,
        "base": bundle.source,
        "scorer": None if scorer is None else scorer.info.id,
        "settings": asdict(job.fit)
        | {name: getattr(job, name) for name in ("draws", "hidden", "noise")},
        "features": train.features.shape[1],
        "pairs": {name: len(pairs.row.unique()) for name, pairs in found.items()},
        "best_step": fitted.best_step,
        "seconds": {
            "look": round(looked - began, 2),
            "train": round(time.monotonic() - looked, 2),
        },
        "accuracy": [asdict(each) for each in findings.contenders],
        "by_step": {each.name: [list(point) for point in each.points] for each in findings.by_step},
        "reliability": asdict(findings.reliability),
        "history": [dict(row) for row in fitted.history],
    }
    write_json(job.out / SUMMARY, summary)
    _report(job, summary, findings)
    return summary


def _to_save(
    job: NoisyJob, bundle: Bundle, scorer: LoadedScorer | None, fitted: FittedNoisy
) -> SavedNoisy:
    ref = None
    if scorer is not None:
        ref = EmbedderRef(scorer=scorer.info.id, fingerprint=fingerprint(scorer.info))
    return SavedNoisy(
        kind=job.kind,
        head=fitted.head,
        base=bundle.source,
        fingerprints=bundle.fingerprints,
        probes=probes_of(bundle, job.kind),
        scorer=ref,
    )


def _report(job: NoisyJob, summary: dict[str, Any], findings: Findings) -> None:
    pairs = summary["pairs"]
    scorer = "" if summary["scorer"] is None else f" and {summary['scorer']}"
    write_reward_report(
        job.out / REPORT,
        findings,
        title=f"{job.kind} reward on {summary['base']}{scorer}",
        lead=f"{pairs['train']} votes to train, each noised {job.draws} times; {pairs['test']} "
        f"votes on other prompts to test, each noised at {job.bins} steps.",
        note=f"Seed {job.fit.seed}, best at step {summary['best_step']} of {job.fit.steps}.",
        details={
            **{f"settings.{name}": value for name, value in summary["settings"].items()},
            **{f"pairs.{name}": value for name, value in pairs.items()},
            **{f"seconds.{name}": value for name, value in summary["seconds"].items()},
            "source": job.source,
            "features": summary["features"],
        },
    )
