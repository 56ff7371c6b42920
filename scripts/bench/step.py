"""One optimizer step's gradient: diffpref beside the released script's inner step, interleaved.

    python -m scripts.bench.step --model tiny --out docs/benchmarks/cpu-step.json
    python -m scripts.bench.step --model tiny --adapter lora --out docs/benchmarks/cpu-step.json
    python -m scripts.bench.step --model sd15 --px 128 --pairs 4 --out docs/benchmarks/cpu-step.json

Random weights of the real shapes (the bundled base for `tiny`), float32. Full training is compared
with Diffusion-DPO's script and a frozen copy, LoRA with diffusers' script and adapters off. Losses
must agree on the same latents, noise and t before anything is timed.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffpref.cli.machine import gemm_gflops, processor
from diffpref.io import write_json
from scripts.bench.sides import READY, Bench, make

WARM, ROUNDS = 2, 6
DISTURBANCE = 1e-4
TOLERANCE = 1e-3
"""Of the mean loss: float32 sums in another order, times beta."""


def agree(bench: Bench, tolerance: float = TOLERANCE) -> dict[str, float]:
    """Return both losses and gradients' distance on the same latents, noise and t.

    Raises:
        SystemExit: they differ.
    """
    net: Any = bench.unet
    _disturb(net)
    probe = _probe(net)
    found: dict[str, tuple[float, Tensor]] = {}
    ready = bench.theirs[READY]
    for name, way in (
        ("official", lambda: ready.window(bench.pairs.given)),
        ("ours", bench.ours),
    ):
        net.zero_grad()
        loss = way()
        assert probe.grad is not None  # it trains
        found[name] = loss, probe.grad.clone()
    net.zero_grad()
    (a, grad_a), (b, grad_b) = found["official"], found["ours"]
    distance = float((grad_a - grad_b).norm() / grad_a.norm())
    if abs(a - b) > tolerance * max(1.0, abs(a)) or distance > 10 * tolerance:
        raise SystemExit(f"the two steps disagree: losses {a} and {b}, gradients by {distance}")
    return {"official": a, "ours": b, "gradient_distance": distance}


def _disturb(net: nn.Module) -> None:
    """Move the policy from its reference: equal ones agree at log 2 whatever the latents are."""
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in net.parameters():
            if value.requires_grad:
                value.add_(DISTURBANCE * torch.randn(value.shape, generator=rng))


def _probe(net: nn.Module) -> nn.Parameter:
    """Return the first parameter that trains."""
    return next(value for value in net.parameters() if value.requires_grad)


def timed(bench: Bench) -> dict[str, list[float]]:
    """Return seconds of every way, in turn, forwards and backwards."""
    ways = bench.ways()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(WARM + ROUNDS):
        order = list(ways) if number % 2 == 0 else list(reversed(ways))
        for name in order:
            bench.unet.zero_grad()
            _wait(bench)
            began = time.perf_counter()
            ways[name]()
            _wait(bench)
            if number >= WARM:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def _wait(bench: Bench) -> None:
    if bench.found.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("tiny", "sd15"), default="tiny")
    parser.add_argument("--adapter", choices=("full", "lora"), default="full")
    parser.add_argument("--px", type=int, default=0, help="pixels; 32 for tiny, 128 for sd15")
    parser.add_argument("--pairs", type=int, default=8, help="pairs of one optimizer step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a JSON file; other sizes in it are kept")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    px = asked.px or {"tiny": 32, "sd15": 128}[asked.model]
    bench = make(asked.model, asked.adapter, px, asked.pairs)
    losses = agree(bench)
    seconds = timed(bench)
    ours = seconds["diffpref"]
    told: dict[str, Any] = {
        "px": px,
        "pairs": asked.pairs,
        "threads": asked.threads,
        "losses": losses,
        "ms_per_pair": {
            name: [round(1000 * each / asked.pairs, 2) for each in found]
            for name, found in seconds.items()
        },
        "ratio": {
            name: round(statistics.median(a / b for a, b in zip(found, ours, strict=True)), 3)
            for name, found in seconds.items()
        },
        "machine": {"processor": processor(), "gemm_gflops": round(gemm_gflops(), 1)},
    }
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    if asked.out is not None:
        known = json.loads(asked.out.read_text()) if asked.out.exists() else {}
        write_json(asked.out, {**known, f"{asked.model}-{asked.adapter}-{px}": told})


if __name__ == "__main__":
    main()
