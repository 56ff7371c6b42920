"""Validation compares like with like, keeps pictures, and chooses the best checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from diffpref.config import RunConfig
from diffpref.rewards import LoadedScorer, ScorerInfo
from diffpref.rewards.sight import Seen
from diffpref.run.execute import execute
from diffpref.train.log import read_metrics
from diffpref.train.store import Store


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("two red circles\n\none blue square\nsome hollow things\n")
    return path


@dataclass(frozen=True)
class Brightness:
    """Scores an image by its mean."""

    @property
    def info(self) -> ScorerInfo:
        return ScorerInfo(
            name="bright",
            kind="image",
            scale="mean pixel",
            range_hint=(0.0, 1.0),
            licence="Apache-2.0",
            differentiable=True,
            preprocess_id="none",
        )

    sight = Seen(id="none", look=lambda pixels: pixels)

    def judge(self, pixels: torch.Tensor, prompts: tuple[str, ...], /) -> torch.Tensor:
        del prompts
        return pixels.mean(dim=(1, 2, 3))

    def overlong(self, prompts: Sequence[str], /) -> list[bool]:
        return [False] * len(prompts)

    def to(self, device: object, dtype: object, /) -> "Brightness":
        del device, dtype
        return self


def test_validation_logs_win_rates_and_keeps_the_best_checkpoint(
    make_config: Callable[..., RunConfig],
    tmp_path: Path,
    prompts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("diffpref.run.validate.load_scorer", lambda _: LoadedScorer(Brightness()))
    config = make_config(
        data__resolution=64,
        loop__steps=4,
        save__every=100,
        save__best_by="win_rate/bright",
        evaluate={
            "every": 2,
            "prompts": str(prompts),
            "n": 3,
            "seeds": [0, 1],
            "scorers": ["bright"],
            "steps": 2,
        },
    )
    execute(config, tmp_path / "run")
    rows = [
        row for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "score/bright" in row
    ]
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[0]["score_base/bright"] == rows[1]["score_base/bright"]
    best = Store(tmp_path / "run" / "checkpoints").best()
    assert best is not None
    rates = [row["win_rate/bright"] for row in rows]
    assert best.step == (2 if rates[0] >= rates[1] else 4)
    assert len(list((tmp_path / "run" / "samples").glob("*.png"))) == 2
