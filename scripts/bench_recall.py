"""How much faster training is on kept points: live and kept steps taken in turn.

    python scripts/bench_recall.py          # InPO inverted by the reference, bundled model, CPU

Writes docs/benchmarks/recall.json: median seconds of a step, their ratio with its interval, and
what keeping the points cost.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from diffpref.cli.machine import gemm_gflops, processor
from diffpref.config import load_config
from diffpref.draws import generator
from diffpref.io import write_json
from diffpref.run.assemble import Assembled, assemble
from diffpref.run.data import cache_of
from diffpref.run.model import load_model, make_accelerator
from diffpref.train.step import take_step

OUT = Path("docs/benchmarks/recall.json")
DRAWS, PAIRS, ROWS, STEPS = 2, 16, 128, 24


def build(root: Path, name: str, *, recall: bool) -> tuple[Assembled, float]:
    """Return an assembled run and the seconds it took to assemble."""
    config = load_config(
        "shapes/inpo",
        [
            "method.network=reference",
            f"data.draws_per_row={DRAWS}",
            f"data.recall={str(recall).lower()}",
            f"data.pairs_per_batch={PAIRS}",
            f"data.max_rows={ROWS}",
            f"data.cache={root / 'cache'}",
            "optimizer.lr=1e-5",
        ],
    )
    accelerator = make_accelerator(config, root / name)
    bundle = load_model(config, accelerator)
    assert config.data is not None  # the preset has data
    cache = cache_of(config.data, bundle, config.seed)
    began = time.perf_counter()
    return assemble(config, accelerator, bundle, cache), time.perf_counter() - began


def seconds_of(run: Assembled, windows: Any, step: int) -> float:
    window = next(windows)
    began = time.perf_counter()
    take_step(run.learner, window, window.positions, step, run.plan.rows_per_pass)
    return time.perf_counter() - began


def main() -> None:
    torch.set_num_threads(2)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        live, _ = build(root, "live", recall=False)
        kept, filling = build(root, "kept", recall=True)
        sources = [iter(run.source(run.learner.nets, 0)) for run in (live, kept)]
        times: list[tuple[float, float]] = []
        for step in range(STEPS):
            each = [
                seconds_of(run, windows, step)
                for run, windows in zip((live, kept), sources, strict=True)
            ]
            times.append((each[0], each[1]))
    measured = torch.tensor(times[2:], dtype=torch.float64)  # the first two warm up
    ratio = measured[:, 0] / measured[:, 1]
    chosen = torch.randint(0, len(ratio), (10_000, len(ratio)), generator=generator(0, 0, "bench"))
    low, high = ratio[chosen].median(dim=1).values.quantile(torch.tensor([0.025, 0.975]).double())
    found = {
        "what": "InPO inverted by the reference, bundled model, LoRA rank 16",
        "pairs_per_step": PAIRS,
        "draws_per_row": DRAWS,
        "steps": len(measured),
        "live_seconds": float(measured[:, 0].median()),
        "kept_seconds": float(measured[:, 1].median()),
        "ratio": float(ratio.median()),
        "ratio_low": float(low),
        "ratio_high": float(high),
        "filling_seconds": filling,
        "filling_draws": DRAWS * ROWS,
        "forwards_per_pair": {"live": 19.0, "kept": 6.0},
        "machine": {"processor": processor(), "gemm_gflops": round(gemm_gflops(), 1)},
        "device": "cpu, fp32, 2 threads",
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    write_json(OUT, found)
    sys.stdout.write(f"{found['ratio']:.2f} ({low:.2f} to {high:.2f}) times as fast\n")


if __name__ == "__main__":
    main()
