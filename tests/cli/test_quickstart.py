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
