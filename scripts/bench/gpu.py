"""The training step on one GPU beside the released scripts' inner steps; writes gpu-NAME.{json,md}.

    python -m scripts.bench.gpu --out docs/benchmarks

SD1.5 at 512 and SDXL at 1024 pixels with random weights in float32 computed in bf16 (autocast on
both sides, as released), every weight or a LoRA: losses must agree first, then steps are timed in
turn. Also SmPO's inversion alone, and what our step allocates beside what `doctor --fit` predicts.
Without a GPU, `--smoke` goes through the same on the bundled model and writes nothing of value.
"""

import argparse
import gc
import json
import re
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffpref.bench.flops import ADAPTERS, method_flops, pass_flops
from diffpref.io import write_atomic, write_json
from diffpref.methods.smpo import smpo
from diffpref.models.family import FAMILIES
from diffpref.run.memory import Copies, Trained, Worked, footprint
from diffpref.run.speed import matrix_flops
from diffpref.toolkit import Toolkit
from diffpref.train.passes import in_passes
from scripts.bench.gpu_page import page
from scripts.bench.sides import Bench, make
from scripts.bench.step import agree, timed

OURS, LIMIT = "diffpref", 600
TOLERANCE = 0.1
"""Of the loss: both sides compute in bf16 and sum in other orders, times beta."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A comparison: model, what trains, pixels, pairs of a step, images of a pass of ours."""

    model: str
    adapter: str
    px: int
    pairs: int
    rows: int


CASES = (
    Case(model="sd15", adapter="full", px=512, pairs=8, rows=16),
    Case(model="sd15", adapter="lora", px=512, pairs=8, rows=16),
    Case(model="sdxl", adapter="lora", px=1024, pairs=2, rows=2),
    Case(model="sdxl", adapter="full", px=1024, pairs=2, rows=2),
)
SMOKE = tuple(Case(model="tiny", adapter=each, px=32, pairs=2, rows=2) for each in ADAPTERS)


def measured(case: Case, device: str, dtype: torch.dtype, peak: float) -> dict[str, Any]:
    """Return what a case took; `peak` is the device's operations a second."""
    bench = make(
        case.model,
        case.adapter,
        case.px,
        case.pairs,
        device=device,
        dtype=dtype,
        rows=case.rows,
    )
    losses = agree(bench, TOLERANCE)
    seconds = timed(bench)
    base = "builtin:base" if case.model == "tiny" else FAMILIES[case.model].configs
    one = pass_flops(base, ADAPTERS[case.adapter], case.px)
    (dpo,) = method_flops(one, ["diffusion_dpo"])
    ours = seconds[OURS]
    return {
        "model": case.model,
        "adapter": case.adapter,
        "px": case.px,
        "pairs": case.pairs,
        "images_per_pass": case.rows,
        "losses": losses,
        "ms_per_pair": {
            name: [round(1000 * each / case.pairs, 2) for each in found]
            for name, found in seconds.items()
        },
        "ratio": {
            name: round(statistics.median(a / b for a, b in zip(found, ours, strict=True)), 3)
            for name, found in seconds.items()
        },
        "mfu": {
            name: round(case.pairs * dpo.flops / statistics.median(found) / peak, 4)
            for name, found in seconds.items()
        },
        "inversion": inversion(bench, one.forward, peak),
        "peak_gib": allocated(bench),
        "predicted_gib": predicted(bench, case),
    }


def inversion(bench: Bench, forward: int, peak: float) -> dict[str, float]:
    """Time SmPO's inversion alone, in passes of four times the rows of ours."""
    objective, seen = smpo(Toolkit(schedule=bench.found.schedule)), 0
    nets = in_passes(bench.nets, 4 * (bench.rows or 1))

    def once() -> float:
        began = time.perf_counter()
        with torch.no_grad():
            objective.draw(nets, bench.pairs.window, bench.pairs.draws)
        if bench.found.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    once()
    seconds = statistics.median(once() for _ in range(3))
    calls = objective.passes(bench.pairs.draws)
    assert calls is not None  # SmPO inverts
    seen = 2 * int(calls.sum())
    return {"images": seen, "seconds": round(seconds, 4), "mfu": seen * forward / seconds / peak}


def allocated(bench: Bench) -> float | None:
    """Return the most our step allocates, without an optimizer, in GiB."""
    if bench.found.device.type != "cuda":
        return None
    bench.unet.zero_grad()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    bench.ours()
    return round(torch.cuda.max_memory_allocated() / 2**30, 3)


def predicted(bench: Bench, case: Case) -> float:
    """Return what the predictor says of the same, in GiB."""
    found, window = bench.found, bench.pairs.window
    model = Trained(
        unet=found.unet,
        family=found.family,
        dtype=found.dtype,
        rest=(found.vae, *found.encoders),
    )
    work = Worked(
        rows=case.rows,
        latent=tuple(window.latents.shape[2:]),  # pyright: ignore[reportArgumentType]
        keep=False,
        accumulates=case.rows < 2 * case.pairs,
    )
    cond = window.row_cond()
    copies = Copies(trained=int(found.reference is not None))
    counted = footprint(model, cond, work, copies=copies, optimizer_bytes=0.0)
    return round(counted.total / 2**30, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder of gpu-NAME.json and .md")
    parser.add_argument("--smoke", action="store_true", help="the bundled model, on any machine")
    asked = parser.parse_args()
    if not asked.smoke and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --smoke goes through the same on a CPU")
    on = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if on == "cuda" else torch.float32
    peak, began = matrix_flops(torch.device(on), dtype), time.monotonic()
    name = torch.cuda.get_device_name() if on == "cuda" else "cpu"
    told: dict[str, Any] = {"device": name, "peak_tflops": peak / 1e12, "cases": [], "left_out": []}
    for case in SMOKE if asked.smoke else CASES:
        if time.monotonic() - began > LIMIT:
            told["left_out"].append(f"{case.model} {case.adapter}: {LIMIT} s were over")
            continue
        try:
            told["cases"].append(measured(case, on, dtype, peak))
        except torch.OutOfMemoryError:
            told["left_out"].append(f"{case.model} {case.adapter}: out of memory")
        gc.collect()
        if on == "cuda":
            torch.cuda.empty_cache()
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        file = "gpu-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        write_json(asked.out / f"{file}.json", told)
        write_atomic(asked.out / f"{file}.md", page(told, f"{file}.json"))


if __name__ == "__main__":
    main()
