"""Scorers against people's labels: every accuracy that was asked for, and how it came about."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from diffpref.data.readers import RecordSource
from diffpref.errors import UsageError
from diffpref.evaluate.accuracy import Accuracy, find_protocol, measure
from diffpref.evaluate.conflicts import conflicts
from diffpref.evaluate.scored import Progress, Scored, score_source
from diffpref.rewards import LoadedScorer, ScorerInfo

TEST, VALIDATION = "test", "validation"
FEW = 10
"""Below so many prompts an interval is a guess."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a source is read, for every part alike; the fields are those of `score_source`."""

    limit: int | None = None
    batch: int = 32
    on_bad_row: str = "skip"
    max_bad_fraction: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Accuracies by protocol and scorer; `scored` has every single score, by part."""

    sources: Mapping[str, RecordSource]
    scored: Mapping[str, Scored]
    infos: tuple[ScorerInfo, ...]
    accuracies: tuple[tuple[ScorerInfo, Accuracy], ...]
    warnings: tuple[str, ...]

    @property
    def bad(self) -> dict[str, Counter[str]]:
        """How many rows of each part were left out, by reason."""
        return {
            part: Counter(row.code for row in scored.bad) for part, scored in self.scored.items()
        }

    def plain(self) -> dict[str, object]:
        """Return everything but the single scores, ready for JSON."""
        return {
            "sources": {
                part: {
                    "source": source.name,
                    "format": source.format,
                    "split": source.split,
                    "rows": len(self.scored[part].rows),
                    "bad_rows": dict(self.bad[part]),
                }
                for part, source in self.sources.items()
            },
            "accuracies": [
                {**asdict(found), "scorer": asdict(info) | {"id": info.id}}
                for info, found in self.accuracies
            ],
            "warnings": list(self.warnings),
        }


def agreement(
    sources: Mapping[str, RecordSource],
    scorers: Sequence[LoadedScorer],
    protocols: Sequence[str],
    *,
    labellers: Sequence[str] = (),
    reading: Reading | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> Agreement:
    """Score the images of labelled rows and compare the scores with the labels.

    Args:
        sources: the rows under `test`; those that thresholds are tuned on under `validation`.
        scorers: who is tested.
        protocols: names of PROTOCOLS.
        labellers: scorers whose opinion the labels are, if they are not people's.
        reading: how the rows are read.
        progress: gives, for the name of a part, what is told the rows done.

    Returns:
        The accuracies in the order of the protocols, then of the scorers.

    Raises:
        UsageError: an unknown protocol, no validation rows for one that is tuned, or the same
            rows for both.
        DataError: the rows cannot be read, or do not fit a protocol.
    """
    _refuse_unfit(sources, protocols)
    how = asdict(reading or Reading())
    scored = {
        part: score_source(source, scorers, progress=progress and progress(part), **how)
        for part, source in sources.items()
    }
    infos = tuple(scorer.info for scorer in scorers)
    accuracies = tuple(
        (info, _accuracy(protocol, info, scored)) for protocol in protocols for info in infos
    )
    warnings = _warnings(sources, scored, infos, labellers)
    if (least := min(found.prompts for _, found in accuracies)) < FEW:
        warnings.append(f"an interval rests on {least} prompts only")
    return Agreement(
        sources=sources,
        scored=scored,
        infos=infos,
        accuracies=accuracies,
        warnings=tuple(warnings),
    )


def _accuracy(protocol: str, info: ScorerInfo, scored: Mapping[str, Scored]) -> Accuracy:
    validation = scored[VALIDATION].judged(info.id) if VALIDATION in scored else ()
    return measure(
        protocol,
        scored[TEST].judged(info.id),
        validation=validation,
        temperature=info.temperature,
    )


def _refuse_unfit(sources: Mapping[str, RecordSource], protocols: Sequence[str]) -> None:
    """Refuse what would only be noticed after all images were scored."""
    tuned = [name for name in protocols if find_protocol(name).thresholds]
    if not tuned:
        return
    hint = "give --validation SOURCE: pairs that are not those of the test"
    if VALIDATION not in sources:
        raise UsageError("its threshold is tuned on a validation set", where=tuned[0], hint=hint)
    if sources[VALIDATION].stamp() == sources[TEST].stamp():
        what = "the rows are those of the test: a threshold tuned on them flatters"
        raise UsageError(what, where="--validation", hint=hint)


def _warnings(
    sources: Mapping[str, RecordSource],
    scored: Mapping[str, Scored],
    infos: Sequence[ScorerInfo],
    labellers: Sequence[str],
) -> list[str]:
    test, rows = sources[TEST], scored[TEST].rows
    found = conflicts(
        infos,
        sources={row.record.source for row in rows},
        labellers=labellers,
        place=(test.name, test.split),
    )
    for info in infos:
        if cut := scored[TEST].flags.get(info.id, Counter())["truncated"]:
            found.append(f"{info.id} read only the beginning of the prompt of {cut} images")
    return found
