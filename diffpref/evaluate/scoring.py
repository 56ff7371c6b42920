"""Scores of images on disk by several scorers, kept in a journal so that a killed run goes on."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, file_digest
from math import isfinite, nan
from pathlib import Path
from typing import Any

from diffpref.errors import DataError
from diffpref.io import Journal
from diffpref.rewards import LoadedScorer, ScorerInfo
from diffpref.rewards.identity import identity

BATCHES = 4
"""Batches scored between two lines of the journal."""

ROWS = 500
"""Verdicts of one line of it, which has a ceiling."""

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One scorer's score of one image: NaN with a flag and a reason if there is none."""

    value: float
    flags: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ScoredImages:
    """Images, their prompts, and every scorer's verdicts in their order."""

    files: tuple[Path, ...]
    prompts: tuple[str, ...]
    infos: Mapping[str, ScorerInfo]
    verdicts: Mapping[str, tuple[Verdict, ...]]

    def values(self, scorer: str) -> list[float]:
        """Return one scorer's scores; NaN where there is none."""
        return [verdict.value for verdict in self.verdicts[scorer]]

    def troubles(self) -> Iterator[tuple[Path, str, Verdict]]:
        """Yield (image, scorer, verdict) wherever something is flagged."""
        for scorer, verdicts in self.verdicts.items():
            for file, verdict in zip(self.files, verdicts, strict=True):
                if verdict.flags:
                    yield file, scorer, verdict


def score_images(
    files: Sequence[Path],
    prompts: Sequence[str],
    scorers: Sequence[LoadedScorer],
    *,
    dtype: str = "fp32",
    batch: int = 32,
    journal: Path | None = None,
    skip_bad: bool = False,
    progress: Callable[[str], Progress] | None = None,
) -> ScoredImages:
    """Score every image with its prompt by every scorer.

    Args:
        files: the images; equal ones with equal prompts are scored once.
        prompts: one per image.
        scorers: who scores.
        dtype: the precision they were loaded in, which tells journals apart.
        batch: images scored at once.
        journal: file of what is done, by content of the image, prompt, and scorer with weights.
        skip_bad: flag an image that cannot be scored instead of raising.
        progress: given a scorer's id, returns what is told after every few images.

    Returns:
        Verdicts in the order of the images.

    Raises:
        DataError: an image cannot be scored and `skip_bad` is false; what was done is kept.
    """
    hashes = [_content(file) for file in files]
    keys = [_key(*pair) for pair in zip(hashes, prompts, strict=True)]
    book = None if journal is None else Journal(journal)
    found: dict[str, tuple[Verdict, ...]] = {}
    for scorer in scorers:
        run = _Run(scorer=scorer, identity=identity(scorer, dtype), batch=batch, book=book)
        tell = (lambda _, __: None) if progress is None else progress(scorer.info.id)
        done = _verdicts(run, list(zip(keys, files, prompts, strict=True)), skip_bad, tell)
        found[scorer.info.id] = tuple(done[key] for key in keys)
    return ScoredImages(
        files=tuple(files),
        prompts=tuple(prompts),
        infos={scorer.info.id: scorer.info for scorer in scorers},
        verdicts=found,
    )


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One scorer at work."""

    scorer: LoadedScorer
    identity: str
    batch: int
    book: Journal | None

    def known(self) -> dict[str, Verdict]:
        """Return what the journal has of this very scorer."""
        found: dict[str, Verdict] = {}
        for line in self.book.read() if self.book is not None else ():
            if line.get("scorer") == self.identity:
                rows: Any = line["rows"]
                for key, value, flags, reason in rows:
                    number = nan if value is None else float(value)
                    found[key] = Verdict(value=number, flags=tuple(flags), reason=reason)
        return found

    def keep(self, verdicts: Mapping[str, Verdict]) -> None:
        if self.book is None:
            return
        rows = [
            [key, each.value if isfinite(each.value) else None, list(each.flags), each.reason[:500]]
            for key, each in verdicts.items()
        ]
        for start in range(0, len(rows), ROWS):
            self.book.append({"scorer": self.identity, "rows": rows[start : start + ROWS]})

    def score(self, rows: Sequence[tuple[str, Path, str]]) -> dict[str, Verdict]:
        files = [file for _, file, _ in rows]
        prompts = [prompt for _, _, prompt in rows]
        result = self.scorer.score(files, prompts, batch_size=self.batch, skip_bad=True)
        found: dict[str, Verdict] = {}
        for number, (key, file, _) in enumerate(rows):
            said = result.reasons.get(number, "").removeprefix(f"images[{number}] {file.name}: ")
            value, flags = float(result.values[number]), result.flags[number]
            found[key] = Verdict(value=value, flags=flags, reason=said)
        return found


def _verdicts(
    run: _Run, rows: Sequence[tuple[str, Path, str]], skip_bad: bool, tell: Progress
) -> dict[str, Verdict]:
    distinct = {row[0]: row for row in rows}
    done = {key: each for key, each in run.known().items() if key in distinct}
    waiting = [row for key, row in distinct.items() if key not in done]
    tell(len(done), len(distinct))
    _refuse(run, [row for key, row in distinct.items() if key in done], done, skip_bad)
    step = run.batch * BATCHES
    for start in range(0, len(waiting), step):
        part = waiting[start : start + step]
        scored = run.score(part)
        run.keep({key: each for key, each in scored.items() if not key.startswith(_ABSENT)})
        done |= scored
        tell(len(done), len(distinct))
        _refuse(run, part, scored, skip_bad)
    return done


def _refuse(
    run: _Run,
    rows: Sequence[tuple[str, Path, str]],
    verdicts: Mapping[str, Verdict],
    skip_bad: bool,
) -> None:
    """Stop at an unreadable image unless asked not to."""
    for key, file, _ in rows:
        if "unreadable" in verdicts[key].flags and not skip_bad:
            what = f"{run.scorer.info.id} cannot score it: {verdicts[key].reason}"
            hint = "mend or remove it, or add --skip-bad to report it and go on"
            raise DataError(what, where=str(file), hint=hint)


_ABSENT = "-"


def _content(file: Path) -> str:
    """Return a hash of a file's content; one that cannot be read is told apart by its name."""
    try:
        with file.open("rb") as stream:
            return file_digest(stream, lambda: blake2b(digest_size=16)).hexdigest()
    except OSError:
        return f"{_ABSENT}{file}"


def _key(content: str, prompt: str) -> str:
    told = blake2b(json.dumps([content, prompt]).encode(), digest_size=16).hexdigest()
    return f"{_ABSENT}{told}" if content.startswith(_ABSENT) else told
