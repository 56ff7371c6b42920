"""The main job, whole: slow, because it really trains, samples and judges."""

import json
from pathlib import Path

import pytest

from diffpref.cli import main


@pytest.mark.slow
def test_the_quickstart_earns_its_win_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "quickstart"
    assert main(["quickstart", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["oracle"]["n"] >= 256
    assert summary["oracle"]["low"] > 0.60
    assert summary["reward"]["low"] > 0.5
    assert summary["fidelity"]["aligned"] >= summary["fidelity"]["base"] - 0.03
    assert {"train", "evaluate", "total"} == summary["seconds"].keys()
    assert summary["machine"]["gemm_gflops"] > 0
    report = (out / "report.html").read_text()
    assert "data:image/" in report
    assert "<script" not in report
    assert "world-oracle" in capsys.readouterr().out


def test_an_adapter_is_for_the_personal_story(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "quickstart")]
    assert main(["quickstart", *out, "--adapter", str(tmp_path)]) == 2
    assert "quickstart --personal --adapter RUN" in capsys.readouterr().err
    assert main(["quickstart", "--personal", *out, "--adapter", str(tmp_path)]) == 2
    assert "holds no user adapter" in capsys.readouterr().err


@pytest.mark.slow
def test_the_personal_story_is_told_whole_and_honestly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "personal"
    assert main(["quickstart", "--personal", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["person"]["votes"] == 8
    assert summary["profile"]["pairs"] == 8
    names = ["mine vs base", "mine vs population", "mine vs somebody else's", "true taste vs base"]
    assert list(summary["reranked"]) == names
    # what the reward likes is liked; that it is this person's is not promised of eight votes
    assert summary["reranked"]["mine vs base"]["low"] > 0.5
    assert summary["reranked"]["true taste vs base"]["low"] > 0.5
    assert summary["adapter"] == {"given": False, "rows": {}}
    assert "No user adapter is bundled" in summary["note"]
    assert summary["profile_bytes"] < 20_000
    report = (out / "report.html").read_text()
    assert "No user adapter is bundled" in report
    assert "<script" not in report
    assert "No user adapter is bundled" in capsys.readouterr().out
