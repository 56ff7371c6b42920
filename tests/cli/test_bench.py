"""`diffpref bench score` on a tiny network: both ways agree, and the file says what was done."""

import json
from pathlib import Path

import pytest

from diffpref.cli import main
from diffpref.rewards import random_clip


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"tiny": ((64, 96, 1, 1), (64, 96, 1, 1), 32, 32)}
    monkeypatch.setattr(random_clip, "SIZES", sizes)


def test_both_ways_give_the_same_scores_and_their_rates_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "score.json"
    asked = ["bench", "score", "--size", "tiny", "--prompts", "3", "--images", "2", "--batch", "4"]
    code = main([*asked, "--loop-images", "5", "--device", "cpu", "--out", str(out)])
    assert code == 0
    assert "one by one" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert (found["prompts"], found["images"], found["loop_images"]) == (3, 6, 5)
    assert found["largest_gap"] < 1e-3  # of scores about 100 x cosine
    assert found["ratio"] == pytest.approx(found["ours"] / found["loop"], rel=0.02)
    assert found["machine"]["gemm_gflops"] > 0


def test_an_unknown_size_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "score", "--size", "tyni", "--device", "cpu"]) == 2
    assert "did you mean 'tiny'" in capsys.readouterr().err
