"""What it saves that whole prompts a pass need no second policy forward: both ways, in turn.

    python -m scripts.bench.passes --pairs 8 --threads 1

Diffusion-DPO on the bundled model, one pair a pass. "replayed" measures the policy without a graph
first, as an objective whose prompts meet in the loss must.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch

from diffpref.cli.machine import gemm_gflops, processor
from diffpref.methods.diffusion_dpo import diffusion_dpo
from diffpref.toolkit import Toolkit
from diffpref.train.backward import accumulate
from diffpref.types import Denoiser, Loss, Measure, Nets
from scripts.bench.sides import BETA, make

WARM, ROUNDS = 1, 6


@dataclass(frozen=True, kw_only=True)
class Met:
    """An objective that does not say that its prompts are apart."""

    inner: Any

    @property
    def couples_batch(self) -> bool:
        return False

    def draw(self, nets: Nets, batch: Any, draws: Any, /) -> Any:
        return self.inner.draw(nets, batch, draws)

    def measure(self, net: Denoiser, point: Any, /) -> Measure:
        return self.inner.measure(net, point)

    def compare(self, policy: Measure, reference: Measure | None, point: Any, /) -> Loss:
        return self.inner.compare(policy, reference, point)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    bench = make("tiny", "full", 32, asked.pairs)
    window, draws = bench.pairs.window, bench.pairs.draws
    inner = diffusion_dpo(Toolkit(schedule=bench.found.schedule), beta=BETA)
    ways = {"apart": inner, "replayed": Met(inner=inner)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    losses: dict[str, float] = {}
    for number in range(WARM + ROUNDS):
        order = list(ways) if number % 2 == 0 else list(reversed(ways))
        for name in order:
            bench.unet.zero_grad()
            began = time.process_time()
            loss = accumulate(ways[name], bench.nets, window, draws, rows_per_pass=2)
            if number >= WARM:
                seconds[name].append(time.process_time() - began)
            losses[name] = float(loss.value)
    if losses["apart"] != losses["replayed"]:
        raise SystemExit(f"the two ways disagree: {losses}")
    pairs = zip(seconds["replayed"], seconds["apart"], strict=True)
    told = {
        "ms_per_pair": {
            name: round(1000 * statistics.median(found) / asked.pairs, 1)
            for name, found in seconds.items()
        },
        "ratio": [round(a / b, 3) for a, b in pairs],
        "machine": {"processor": processor(), "gemm_gflops": round(gemm_gflops(), 1)},
    }
    sys.stdout.write(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
