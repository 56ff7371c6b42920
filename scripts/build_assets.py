"""Rebuild every bundled asset from nothing: python scripts/build_assets.py [stage ...]."""

import argparse
import os
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

STAGES = ("vae", "base", "pairs", "reward", "measure")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", default=STAGES, help=f"any of: {', '.join(STAGES)}")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "build-assets")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for stage in arguments.stages:
        if stage not in STAGES:
            parser.error(f"unknown stage '{stage}'; known: {', '.join(STAGES)}")
        module = __import__(f"scripts.assets_build.{stage}", fromlist=["build"])
        module.build(arguments.work)


if __name__ == "__main__":
    main()
