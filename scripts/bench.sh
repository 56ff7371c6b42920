#!/usr/bin/env bash
# What diffpref costs and how fast it is here: arithmetic, a training step beside the released
# script's, scoring. Minutes on two cores; writes docs/benchmarks/cpu-step.json.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

for model in sd15 sdxl; do
    diffpref bench flops --model "$model" diffusion_dpo inpo smpo mapo ncp_dpo
done
for adapter in full lora; do
    python -m scripts.bench.step --model tiny --adapter "$adapter" --out docs/benchmarks/cpu-step.json
    python -m scripts.bench.step --model sd15 --adapter "$adapter" --pairs 2 --out docs/benchmarks/cpu-step.json
done
diffpref bench score --prompts 40
