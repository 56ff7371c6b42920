"""The benchmark pages say what was measured, and where a target was missed."""

import json
from pathlib import Path
from typing import Any

from scripts.bench.cpu_page import FOUND, page


def test_a_missed_target_is_said_with_how_far(tmp_path: Path) -> None:
    runs: dict[str, Any] = json.loads(FOUND.read_text())
    assert "missed" not in page()
    assert "4.76 (target 1.5: met)" in page()
    ratios = runs["sd15-full-128"]["ratio"]
    ratios[next(iter(ratios))] = 1.0
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps(runs))
    assert "1.00 (target 1.25: missed by 0.25)" in page(slow)
