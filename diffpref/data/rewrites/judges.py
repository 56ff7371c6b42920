"""Scorers of text and of images as judges of a prompt's candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image

from diffpref.data.rewrites.read import Candidates
from diffpref.io import BadImage, open_image
from diffpref.rewards import LoadedScorer, PairwiseModel, ScorerInfo
from diffpref.rewards.judge.model import PairwiseJudge
from diffpref.rewards.text import LoadedTextScorer, PairwiseTextModel

PLACEHOLDER = "{prompt}"
INSTRUCTION = (
    "Rewrite this prompt for a text-to-image model. Ask for the same picture, in words from which "
    "the model makes a better one: {prompt}"
)
"""What text scorers are told the candidates answer."""

Numbers = dict[str, list[float]]
"""By row's key: scores of its candidates, or the chances that each is preferred to the prompt."""


@runtime_checkable
class Judge(Protocol):
    """Judges the candidates of several rows."""

    @property
    def info(self) -> ScorerInfo: ...

    @property
    def compares(self) -> bool: ...

    @property
    def reads(self) -> str: ...

    def numbers(self, rows: Sequence[Candidates], /, *, batch: int) -> Numbers: ...


@dataclass(frozen=True, kw_only=True)
class TextJudge:
    """Judges the words: each candidate as a response to the instruction."""

    scorer: LoadedTextScorer
    instruction: str = INSTRUCTION
    reads: str = "text"

    @property
    def info(self) -> ScorerInfo:
        return self.scorer.info

    @property
    def compares(self) -> bool:
        return isinstance(self.scorer.model, PairwiseTextModel)

    def numbers(self, rows: Sequence[Candidates], /, *, batch: int) -> Numbers:
        """Return scores, or chances against the prompt."""
        if self.compares:
            return {row.key: self._chances(row, batch) for row in rows}
        asked = [self._asked(row) for row in rows for _ in row.texts]
        texts = [text for row in rows for text in row.texts]
        values = self.scorer.score(asked, texts, batch_size=batch).values.tolist()
        return _apart(rows, values)

    def _chances(self, row: Candidates, batch: int) -> list[float]:
        found = self.scorer.preferences(self._asked(row), row.texts, batch_size=batch)
        return found[:, 0].tolist()

    def _asked(self, row: Candidates) -> str:
        return self.instruction.replace(PLACEHOLDER, row.prompt)


@dataclass(frozen=True, kw_only=True)
class ImageJudge:
    """Judges what became of the words: each candidate's picture by the prompt as it was."""

    scorer: LoadedScorer
    reads: str = "image"

    @property
    def info(self) -> ScorerInfo:
        return self.scorer.info

    @property
    def compares(self) -> bool:
        return isinstance(self.scorer.model, PairwiseModel)

    def place_bias(self) -> dict[str, int | float] | None:
        """Return how a judge of pairs favoured a place so far; None of other scorers."""
        model = self.scorer.model
        return model.bias.told() if isinstance(model, PairwiseJudge) else None

    def numbers(self, rows: Sequence[Candidates], /, *, batch: int) -> Numbers:
        """Return scores, or chances against the prompt's picture; NaN for an unreadable one."""
        if self.compares:
            return {row.key: self._chances(row) for row in rows}
        files = [file for row in rows for file in row.pictures]
        asked = [row.prompt for row in rows for _ in row.pictures]
        found = self.scorer.score(files, asked, batch_size=batch, skip_bad=True)
        return _apart(rows, found.values.tolist())

    def _chances(self, row: Candidates) -> list[float]:
        first, *others = [_opened(file, row.where) for file in row.pictures]
        if first is None:
            return [nan] * len(row.pictures)
        chances = [0.5]
        for other in others:
            pair = None if other is None else self.scorer.compare(row.prompt, [other, first])
            chances.append(nan if pair is None else float(pair[0]))
        return chances


def _opened(file: Path, where: str) -> Image.Image | None:
    try:
        return open_image(file, where=where)
    except BadImage:
        return None


def identity_of(judge: Judge) -> Mapping[str, Any]:
    """Return who judged, as a table tells it."""
    info = judge.info
    return {
        "reads": judge.reads,
        "gives": "chance" if judge.compares else "score",
        "temperature": info.temperature,
        "weights": [{"file": ref.file, "sha256": ref.sha256} for ref in info.weights],
    }


def _apart(rows: Sequence[Candidates], values: Sequence[float]) -> Numbers:
    sizes = [len(row.texts) for row in rows]
    parts = torch.tensor(values, dtype=torch.float64).split(sizes)
    return {row.key: part.tolist() for row, part in zip(rows, parts, strict=True)}
