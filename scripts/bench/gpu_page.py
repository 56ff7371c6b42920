"""The page of a GPU's benchmark, written of its numbers."""

import statistics
from collections.abc import Mapping
from typing import Any

from scripts.bench.sides import ONLINE, READY

OURS = "diffpref"
TARGETS: Mapping[tuple[str, str], tuple[float, float]] = {
    ("sd15", "full"): (40.0, 3.0),
    ("sdxl", "full"): (5.8, 2.0),
}
"""(model, what trains) -> pairs a second on an H200, times the released step as it is."""

INVERSION = 0.5

HEAD = """\
# The training step on {device}

The gradient of one step of Diffusion-DPO, ours beside the released inner step, interleaved; bf16
over float32 weights on both sides, random weights and pictures. Made by `bash scripts/bench.sh`;
numbers in [{file}]({file}). A bf16 matrix product reaches {peak:.0f} TFLOP/s here. **online**: the
released step encodes pictures and captions; **ready**: it finds them encoded. Targets are those of
an H200. Memory is without an optimizer.
"""


def page(told: Mapping[str, Any], file: str) -> str:
    """Return the page of what `scripts.bench.gpu` found."""
    lines = [
        "| step | pairs | pairs/s | ms a pair | MFU | MFU online, ready | times as fast, online "
        "| ready | inversion MFU | GiB, measured | predicted |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *map(_line, told["cases"]),
    ]
    head = HEAD.format(device=told["device"], file=file, peak=told["peak_tflops"])
    left = [f"- Left out: {each}." for each in told["left_out"]]
    return "\n".join([head, *lines, *([""] if left else []), *left]) + "\n"


def _line(case: Mapping[str, Any]) -> str:
    ms = statistics.median(case["ms_per_pair"][OURS])
    rate, ratio, mfu = 1000 / ms, case["ratio"], case["mfu"]
    fast, times = TARGETS.get((case["model"], case["adapter"]), (None, None))
    measured = case["peak_gib"]
    cells = [
        f"{case['model']}, {case['px']} px, {case['adapter']}",
        str(case["pairs"]),
        _judged(rate, fast),
        f"{ms:.1f}",
        f"{mfu[OURS]:.1%}",
        f"{mfu[ONLINE]:.1%}, {mfu[READY]:.1%}",
        _judged(ratio[ONLINE], times),
        f"{ratio[READY]:.2f}",
        _judged(case["inversion"]["mfu"], INVERSION),
        "-" if measured is None else f"{measured:.2f}",
        f"{case['predicted_gib']:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _judged(value: float, target: float | None) -> str:
    if target is None:
        return f"{value:.2f}"
    verdict = "met" if value >= target else f"missed by {target - value:.2f}"
    return f"{value:.2f} (target {target:g}: {verdict})"
