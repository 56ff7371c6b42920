#!/usr/bin/env bash
# What diffpref costs and how fast it is here: arithmetic, a training step beside the released
# script's, scoring. Minutes on two cores; writes docs/benchmarks/cpu-step.json.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

for model in sd15 sdxl; do
    diffpref bench flops --model "$model" diffusion_dpo inpo smpo mapo ncp_dpo
done
python -m scripts.bench.step --model tiny --out docs/benchmarks/cpu-step.json
python -m scripts.bench.step --model sd15 --pairs 4 --out docs/benchmarks/cpu-step.json
diffpref bench score --prompts 40
