"""The benchmark pages say what was measured, and where a target was missed."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.bench import gpu, gpu_page
from scripts.bench.cpu_page import FOUND, page
from scripts.bench.sides import ONLINE, READY


def test_a_missed_target_is_said_with_how_far(tmp_path: Path) -> None:
    runs: dict[str, Any] = json.loads(FOUND.read_text())
    assert "missed" not in page()
    assert "4.76 (target 1.5: met)" in page()
    ratios = runs["sd15-full-128"]["ratio"]
    ratios[next(iter(ratios))] = 1.0
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps(runs))
    assert "1.00 (target 1.25: missed by 0.25)" in page(slow)


def told(pairs_per_second: float) -> dict[str, Any]:
    case = {
        "model": "sdxl",
        "adapter": "full",
        "px": 1024,
        "pairs": 2,
        "ms_per_pair": {gpu_page.OURS: [1000 / pairs_per_second] * 3},
        "ratio": {ONLINE: 2.5, READY: 1.2, gpu_page.OURS: 1.0},
        "mfu": {ONLINE: 0.15, READY: 0.3, gpu_page.OURS: 0.41},
        "inversion": {"mfu": 0.45},
        "peak_gib": 61.25,
        "predicted_gib": 60.0,
    }
    return {"device": "A Card", "peak_tflops": 700.0, "cases": [case], "left_out": ["sd15 full"]}


def test_a_gpus_page_judges_speed_ratio_and_inversion() -> None:
    text = gpu_page.page(told(5.0), "gpu-a-card.json")
    assert "5.00 (target 5.8: missed by 0.80)" in text
    assert "2.50 (target 2: met)" in text
    assert "0.45 (target 0.5: missed by 0.05)" in text
    assert "| 61.25 | 60.00 |" in text
    assert "- Left out: sd15 full." in text
    assert "6.00 (target 5.8: met)" in gpu_page.page(told(6.0), "gpu-a-card.json")


@pytest.mark.slow
def test_a_smoke_of_the_gpu_benchmark_writes_numbers_and_their_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu", "--smoke", "--out", str(tmp_path)])
    gpu.main()
    (numbers,) = tmp_path.glob("gpu-*.json")
    found = json.loads(numbers.read_text())
    assert [case["adapter"] for case in found["cases"]] == ["full", "lora"]
    assert all(case["inversion"]["images"] > 0 for case in found["cases"])
    assert numbers.with_suffix(".md").read_text() == gpu_page.page(found, numbers.name)
