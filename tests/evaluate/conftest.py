"""Plain comparisons made of numbers, and a tiny model."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffpref.evaluate.compare import Comparison, Progress, Subject, evaluate_pair
from diffpref.rewards import LoadedScorer, ScorerInfo
from diffpref.rewards.sight import Seen
from tests.models.conftest import write_sd15


class Brightness:
    """Scores a picture by its mean."""

    info = ScorerInfo(
        name="bright",
        kind="image",
        scale="mean pixel",
        range_hint=(0.0, 1.0),
        licence="Apache-2.0",
        differentiable=True,
        preprocess_id="none",
    )

    sight = Seen(id="none", look=lambda pixels: pixels)

    def judge(self, pixels: Tensor, prompts: tuple[str, ...], /) -> Tensor:
        del prompts
        return pixels.mean(dim=(1, 2, 3))

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: object, dtype: object, /) -> "Brightness":
        del device, dtype
        return self


def flat(name: str, level: Callable[[int, int], float], side: int = 32) -> Subject:
    """A model whose picture of a prompt is one grey that depends on position and seed."""

    def draw(
        prompts: Sequence[str],
        *,
        seed: int,
        positions: Sequence[int],
        on_progress: Progress | None,
    ) -> Tensor:
        if on_progress is not None:
            on_progress(len(prompts), len(prompts))
        return torch.stack([torch.full((3, side, side), level(p, seed)) for p in positions])

    return Subject(name=name, sample=draw, facts={"model": name, "steps": "20"})


@pytest.fixture
def scorer() -> LoadedScorer:
    return LoadedScorer(Brightness())


@pytest.fixture
def compared(scorer: LoadedScorer) -> Callable[..., Comparison]:
    """Return a maker of comparisons: A is brighter at even prompts, darker at every third."""

    def make(
        prompts: Sequence[str], *, seeds: Sequence[int] = (0,), side: int = 32, shown: int = 24
    ) -> Comparison:
        a = flat("aligned", lambda p, s: 0.5 + 0.1 * ((p % 2 == 0) - (p % 3 == 0)) + 0.01 * s, side)
        b = flat("base", lambda p, s: 0.5 + 0.01 * s, side)  # noqa: ARG005
        return evaluate_pair(a, b, prompts, seeds=seeds, scorers=[scorer], shown=shown)

    return make


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sd15(tmp_path_factory.mktemp("tiny") / "base")
