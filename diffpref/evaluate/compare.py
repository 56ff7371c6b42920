"""Two models on the same prompts and seeds: sample, score, and keep every number."""

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import StringIO
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diffpref.evaluate.pictures import to_bytes
from diffpref.evaluate.winrate import TIE, WinRate, outcomes, win_rate
from diffpref.rewards import LoadedScorer, ScorerInfo

Images = Float[Tensor, "n 3 y x"]
Progress = Callable[[int, int | None], None]
"""(images done, images in all)."""

CHUNK = 64
"""Prompts whose images are held at once."""


@runtime_checkable
class Sampler(Protocol):
    """Makes one image per prompt in [0, 1]; `positions` and `seed` decide the noise."""

    def __call__(
        self,
        prompts: Sequence[str],
        *,
        seed: int,
        positions: Sequence[int],
        on_progress: Progress | None,
    ) -> Images: ...


LABELS_BY = "labels_by"
"""Fact of a model: the scorers whose labels it was trained on, separated by ", "."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model in a comparison. `facts` say what makes its images: model, LoRA, sampler ..."""

    name: str
    sample: Sampler
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What A and B made of the same prompts and seeds, and what every scorer thinks of it.

    `scores` and `rates` are by scorer; scores are A's and B's, one row per prompt, one column per
    seed. `images` are those of the first prompts, unselected: A's, then B's.
    """

    a: str
    b: str
    facts: Mapping[str, Mapping[str, str]]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    infos: Mapping[str, ScorerInfo]
    scores: Mapping[str, tuple[Float[Tensor, "p s"], Float[Tensor, "p s"]]]
    rates: Mapping[str, WinRate]
    images: UInt8[Tensor, "2 m s 3 y x"]

    def means(self, scorer: str) -> tuple[float, float]:
        """Return A's and B's mean score."""
        a, b = self.scores[scorer]
        return float(a.mean()), float(b.mean())

    def warnings(self) -> list[str]:
        """Return a sentence for every judge whose own labels a model was trained on."""
        return [
            f"{model} was trained on labels by {scorer}: its win rate there flatters it"
            for model, facts in self.facts.items()
            for scorer in facts.get(LABELS_BY, "").split(", ")
            if scorer in self.infos
        ]

    def rows(self) -> Iterator[tuple[int, int, str, str, float, float, float]]:
        """Yield (prompt number, seed, prompt, scorer, score A, score B, outcome)."""
        for scorer, (a, b) in self.scores.items():
            won = outcomes(a, b)
            for p, prompt in enumerate(self.prompts):
                for s, seed in enumerate(self.seeds):
                    found = float(a[p, s]), float(b[p, s]), float(won[p, s])
                    yield p, seed, prompt, scorer, *found

    def plain(self) -> dict[str, object]:
        """Return everything but the images and single scores, ready for JSON."""
        return {
            "a": self.a,
            "b": self.b,
            "prompts": len(self.prompts),
            "seeds": list(self.seeds),
            "rates": {name: asdict(rate) for name, rate in self.rates.items()},
            "means": {
                name: dict(zip(("a", "b"), self.means(name), strict=True)) for name in self.rates
            },
            "facts": {name: dict(facts) for name, facts in self.facts.items()},
            "scorers": {name: asdict(info) for name, info in self.infos.items()},
            "warnings": self.warnings(),
        }

    def csv(self) -> str:
        """Return all scores as CSV, one line per image pair and scorer."""
        text = StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["number", "seed", "prompt", "scorer", "score_a", "score_b", "outcome"])
        table.writerows(self.rows())
        return text.getvalue()


def evaluate_pair(
    a: Subject,
    b: Subject,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    scorers: Sequence[LoadedScorer],
    shown: int = 12,
    tie: float = TIE,
    on_progress: Progress | None = None,
) -> Comparison:
    """Sample A and B from the same noise, score both, and compare.

    Args:
        a: the model in question.
        b: what it is compared with.
        prompts: what both show.
        seeds: images per prompt.
        scorers: who judges.
        shown: how many prompts' images to keep, from the top.
        tie: largest difference of scores that is a tie.
        on_progress: told the images made, of both models.

    Returns:
        Images, scores and win rates.
    """
    names = (a.name, b.name) if a.name != b.name else (f"{a.name} (A)", f"{b.name} (B)")
    shape = (2, len(prompts), len(seeds))
    values = {scorer.info.id: torch.zeros(shape, dtype=torch.float64) for scorer in scorers}
    kept: dict[tuple[int, int, int], Tensor] = {}
    tell, total, done = on_progress or (lambda _, __: None), math.prod(shape), 0
    tell(done, total)
    for side, part, column in _places(shape):
        asked = [prompts[p] for p in part]
        images = (a, b)[side].sample(
            asked,
            seed=seeds[column],
            positions=part,
            on_progress=lambda some, _, before=done: tell(before + some, total),
        )
        done += len(part)
        for scorer in scorers:
            found = scorer.score(images, asked).values
            values[scorer.info.id][side, part.start : part.stop, column] = found.double()
        for p in range(part.start, min(shown, part.stop)):
            kept[side, p, column] = to_bytes(images[p - part.start])
    return Comparison(
        a=names[0],
        b=names[1],
        facts={names[0]: dict(a.facts), names[1]: dict(b.facts)},
        prompts=tuple(prompts),
        seeds=tuple(seeds),
        infos={scorer.info.id: scorer.info for scorer in scorers},
        scores={name: (found[0], found[1]) for name, found in values.items()},
        rates={name: win_rate(found[0], found[1], tie=tie) for name, found in values.items()},
        images=_stacked(kept, min(shown, len(prompts)), len(seeds)),
    )


def _places(shape: tuple[int, int, int]) -> Iterator[tuple[int, range, int]]:
    """Yield (model, prompts, seed column), a chunk of prompts at a time, A and B in turn."""
    for column in range(shape[2]):
        for start in range(0, shape[1], CHUNK):
            for side in range(shape[0]):
                yield side, range(start, min(start + CHUNK, shape[1])), column


def _stacked(
    kept: Mapping[tuple[int, int, int], Tensor], prompts: int, seeds: int
) -> UInt8[Tensor, "2 m s 3 y x"]:
    if not kept:
        return torch.zeros(2, 0, seeds, 3, 1, 1, dtype=torch.uint8)
    flat = [kept[side, p, s] for side in range(2) for p in range(prompts) for s in range(seeds)]
    return torch.stack(flat).unflatten(0, (2, prompts, seeds))
