"""docs/benchmarks/cpu-step.md: the training step on a CPU beside the released scripts'."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench.sides import ONLINE, READY

FOUND = Path(__file__).parents[2] / "docs" / "benchmarks" / "cpu-step.json"
OURS = "diffpref"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A row: what it is, beside what, and how many times as fast it is to be; None: no target."""

    what: str
    beside: str
    online: float | None = None
    ready: float | None = None


SALESFORCE, DIFFUSERS = "Diffusion-DPO's script", "diffusers' LoRA script"
ROWS: Mapping[str, Asked] = {
    "tiny-full-32": Asked(what="bundled model, 32 px", beside=SALESFORCE, online=1.5, ready=1.5),
    "sd15-full-128": Asked(what="SD1.5, 128 px", beside=SALESFORCE, online=1.25, ready=1.0),
    "tiny-lora-32": Asked(what="bundled model, 32 px, LoRA", beside=DIFFUSERS),
    "sd15-lora-128": Asked(what="SD1.5, 128 px, LoRA", beside=DIFFUSERS),
}

HEAD = """\
# The training step on a CPU

The gradient of one optimizer step of Diffusion-DPO, ours beside the released scripts' inner steps,
written by us from their descriptions and interleaved in one process: float32 on both sides, random
weights of the real shapes (SD1.5) or the bundled model, 2 warm-ups, 6 timed rounds forwards and
backwards. Before anything is timed both must give the same loss and gradient on the same latents,
noise and t. Made by `bash scripts/bench.sh`; the numbers are in [cpu-step.json](cpu-step.json), of
which this page is written.

**online**: the released step as it is, which encodes pixels and captions in every step; ours reads
them from its cache. **ready**: the released step given latents and embeddings, which leaves the
loop alone to compare. A ratio is the median over rounds of their time over ours; more is faster.
"""

TAIL = """\
## Why the bundled model is {tiny:.1f} times as fast and SD1.5 is not

The full script runs micro-batches of one pair, as its launchers do, and reads numbers back after
each. The bundled model's passes are small: one pair alone takes {alone:.0f} ms, the window
of {pairs} in one pass {window:.0f} ms, since calls are paid for more than arithmetic. So the
{tiny:.1f} says what small passes waste, not how well the loop computes; the same threatens SD1.5 on
a large GPU, where launching one pair's kernels is estimated to take as long as the kernels do.

SD1.5 at 128 px computes for seconds with the same kernels on both sides. Every backward pass also
writes the gradients of 860 M weights, 3.4 GB in float32, and from the second on adds them to those
before: the script does so for every pair, ours once for all. That is probably most of the 1.5; it
was not profiled apart. What is more online is the autoencoder and the text encoder.

diffusers' LoRA script takes all pairs of a batch at once, as we do, and has no gradients of that
size; with latents and text ready nothing is left to win but a few percent.
"""


def page(found: Path = FOUND) -> str:
    """Return the page of a file that `scripts.bench.step` wrote."""
    runs: Mapping[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    lines = [
        "| step | pairs | beside | ms a pair, ours | online | ready "
        "| times as fast, online | ready | losses | gradients apart |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_line(name, runs[name]) for name in ROWS if name in runs),
    ]
    machines = sorted({_machine(run) for run in runs.values()})
    told = [HEAD, "\n".join(lines), "", "Machine: " + "; ".join(machines) + "."]
    tiny = runs.get("tiny-full-32")
    if tiny is not None:
        told += ["", _why(tiny).rstrip()]
    return "\n".join(told) + "\n"


def _why(tiny: Mapping[str, Any]) -> str:
    pairs, times = tiny["pairs"], tiny["ms_per_pair"]
    return TAIL.format(
        tiny=tiny["ratio"][ONLINE],
        pairs=pairs,
        alone=statistics.median(times[READY]),
        window=pairs * statistics.median(times[OURS]),
    )


def _line(name: str, run: Mapping[str, Any]) -> str:
    asked, losses = ROWS[name], run["losses"]
    times = [_spread(run["ms_per_pair"][way]) for way in (OURS, ONLINE, READY)]
    ratios = [
        _judged(run["ratio"][way], target)
        for way, target in ((ONLINE, asked.online), (READY, asked.ready))
    ]
    cells = [
        asked.what,
        str(run["pairs"]),
        asked.beside,
        *times,
        *ratios,
        f"{losses['official']:.4f}, {losses['ours']:.4f}",
        f"{losses['gradient_distance']:.0e}",
    ]
    return "| " + " | ".join(cells) + " |"


def _spread(times: list[float]) -> str:
    """Return median (least to most)."""
    return f"{_short(statistics.median(times))} ({_short(min(times))} to {_short(max(times))})"


def _short(ms: float) -> str:
    return f"{ms:.1f}" if ms < 100 else f"{ms:.0f}"


def _judged(ratio: float, target: float | None) -> str:
    if target is None:
        return f"{ratio:.2f}"
    verdict = "met" if ratio >= target else f"missed by {target - ratio:.2f}"
    return f"{ratio:.2f} (target {target:g}: {verdict})"


def _machine(run: Mapping[str, Any]) -> str:
    name = run["machine"]["processor"]
    return f"{name}, {run['threads']} threads, {run['machine']['gemm_gflops']:.0f} GFLOP/s in fp32"
