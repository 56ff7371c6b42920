"""Scorers as people: their rows, and PPD that learns whom they are for."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffpref.cli import main
from diffpref.config import RunConfig
from diffpref.data.readers import open_records
from diffpref.data.records import Record
from diffpref.evaluate.pictures import png, to_bytes
from diffpref.io import open_image
from diffpref.rewards import load_scorer
from diffpref.run.execute import execute
from diffpref.train.log import read_metrics

SCORERS = ("brightness", "contrast")
PROMPTS = 6


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of each prompt; the brightest has the least contrast."""
    folder = tmp_path_factory.mktemp("images")
    rng = torch.Generator().manual_seed(0)
    for prompt in range(PROMPTS):
        for place, (bright, spread) in enumerate(((0.8, 0.05), (0.5, 0.1), (0.3, 0.2))):
            pixels = (bright + spread * torch.randn(3, 64, 64, generator=rng)).clamp(0, 1)
            told = {"prompt": f"a thing number {prompt}"}
            (folder / f"{prompt}-{place}.png").write_bytes(png(to_bytes(pixels), told))
    return folder


@pytest.fixture(scope="module")
def made(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "people"
    asked = ["label", "pairs", str(images), "--scorer", ",".join(SCORERS), "--out", str(out)]
    assert main([*asked, "--as-users", "--make", "pairs"]) == 0
    return out


def test_every_scorer_is_a_user_who_votes_as_it_scores(made: Path) -> None:
    rows = [row for row in open_records(str(made)).rows() if isinstance(row, Record)]
    assert len(rows) == PROMPTS * len(SCORERS)
    assert Counter(row.user for row in rows).keys() == {
        load_scorer(name).info.id for name in SCORERS
    }
    for row in rows:
        assert row.user is not None
        judge = load_scorer(row.user)
        pixels = [open_image(each.content, where="") for each in row.images]
        first, second = judge.score(pixels, row.prompt).values.tolist()
        assert (first > second) == (row.scores[0] > row.scores[1])
    by_prompt: dict[str, set[str]] = {}
    for row in rows:
        best = row.images[0 if row.scores[0] > row.scores[1] else 1]
        by_prompt.setdefault(row.prompt, set()).add(best.key)
    assert all(len(best) == 2 for best in by_prompt.values())  # these two never agree


def test_ppd_trains_on_them_and_counters_meet(
    made: Path, make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    users: dict[str, Any] = {"width": 3, "support": (1, 2), "counter": 0.5}
    config = make_config(
        method={"name": "ppd", "beta": 2000},
        adapter={"kind": "user"},
        reference={"kind": "gate_off"},
        users={**users, "held_out": "train", "held_out_rows": 8, "held_out_support": 2},
        data__source=str(made),
        loop__steps=2,
        evaluate={"every": 2},
    )
    lines = read_metrics(execute(config, tmp_path / "run") / "metrics.jsonl")
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    measured = next(line for line in lines if "implicit/own" in line)
    assert measured["implicit_margin/own"] != measured["implicit_margin/swapped"]


def test_a_table_has_no_users(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["label", "pairs", str(made), "--scorer", "brightness", "--as-users"]
    assert main([*asked, "--out", str(tmp_path / "table.jsonl")]) == 2
    assert "--make pairs" in capsys.readouterr().err
