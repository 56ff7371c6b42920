"""A whole `train-reward --head ensemble`: scores of several scorers, weighted by people's votes."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from diffpref.data.labelling import make_table
from diffpref.data.scored import scored_votes
from diffpref.data.source_parts import parts_of
from diffpref.evaluate.heads import units
from diffpref.evaluate.judged import judged, reliability
from diffpref.evaluate.reward_report import Contender, Findings, write_reward_report
from diffpref.io import write_json
from diffpref.rewards import LoadedScorer
from diffpref.rewards.heads.calibrate import ENSEMBLE, Ensemble, calibrate
from diffpref.rewards.heads.division import By, divide
from diffpref.rewards.heads.embeddings import fingerprint
from diffpref.rewards.heads.pairs import Pairs, join
from diffpref.rewards.scorer import Progress
from diffpref.run.train_reward import REPORT, SUMMARY, require_votes
from diffpref.types import PerRow

Judge = Callable[[Pairs], PerRow]


@dataclass(frozen=True, kw_only=True)
class EnsembleJob:
    """Which votes weigh the scorers; `out` also keeps each part's label table."""

    source: str
    out: Path
    by: By = "user"
    format: str | None = None
    rows: int | None = None
    batch: int = 64


def calibrate_scorers(
    job: EnsembleJob, scorers: Sequence[LoadedScorer], progress: Progress | None = None
) -> dict[str, Any]:
    """Score every picture, weigh the scorers by the training votes, and test them together.

    Validation votes and test people's support votes are trained on too: nothing is chosen by them.

    Args:
        job: what to calibrate on.
        scorers: higher scores are better in every one.
        progress: told while pictures are scored; an interrupted scoring goes on.

    Returns:
        What report.json holds.

    Raises:
        DataError: no votes, or none of them left for training or the test.
    """
    job.out.mkdir(parents=True, exist_ok=True)
    sources = parts_of(job.source, job.format, job.rows)
    tables = {
        part: make_table(
            source, scorers, job.out / f"scores-{part}.jsonl", batch=job.batch, progress=progress
        )[0]
        for part, source in sources.items()
    }
    votes = scored_votes(sources, tables)
    division = divide(votes.pairs, votes.parts, job.by)
    require_votes(division, job.source, job.by)
    train = join([division.train, division.validation, division.support])
    names = [scorer.info.id for scorer in scorers]
    weighed = calibrate(names, *_scores(train), train.share)
    prints = tuple(fingerprint(scorer.info) for scorer in scorers)
    ensemble = replace(weighed, fingerprints=prints)
    ensemble.save(job.out / ENSEMBLE)
    findings = _measure(ensemble, division.test, job.by)
    summary = {
        "source": job.source,
        "head": "ensemble",
        "split": job.by,
        "weights": dict(zip(names, ensemble.weights, strict=True)),
        "pairs": {"train": len(train), "test": len(division.test)},
        "people": {"train": len(train.voters()), "test": len(division.test.voters())},
        "bad_rows": len(votes.bad),
        "accuracy": [asdict(each) for each in findings.contenders],
        "reliability": asdict(findings.reliability),
    }
    write_json(job.out / SUMMARY, summary)
    _report(job, summary, findings)
    return summary


def _scores(pairs: Pairs) -> "tuple[Any, Any]":
    return pairs.images[pairs.first], pairs.images[pairs.second]


def _measure(ensemble: Ensemble, test: Pairs, by: By) -> Findings:
    first, second = _scores(test)
    logit = ensemble.reward(first) - ensemble.reward(second)
    alone = {name: first[:, j] - second[:, j] for j, name in enumerate(ensemble.scorers)}
    every = {"ensemble": logit, **{f"{name} alone": gap for name, gap in alone.items()}}
    return Findings(
        contenders=[
            Contender(name=name, votes=judged(gap, test.share, units(test, by)))
            for name, gap in every.items()
        ],
        reliability=reliability(logit, test.share),
    )


def _report(job: EnsembleJob, summary: dict[str, Any], findings: Findings) -> None:
    pairs, people = summary["pairs"], summary["people"]
    write_reward_report(
        job.out / REPORT,
        findings,
        title="ensemble of " + ", ".join(summary["weights"]),
        lead=f"{pairs['train']} votes of {people['train']} people to weigh, {pairs['test']} votes "
        f"of {people['test']} people to test.",
        note="Weights are in log odds over each scorer's range.",
        details={f"weight of {name}": f"{value:.3f}" for name, value in summary["weights"].items()},
    )
