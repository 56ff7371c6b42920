#!/usr/bin/env bash
# What diffpref costs and how fast it is here: arithmetic, a training step beside the released
# script's, scoring. Minutes on two cores, writing docs/benchmarks/cpu-step.json; with a CUDA device
# real shapes in bf16 instead, within 10 minutes, writing docs/benchmarks/gpu-NAME.{json,md}.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

for model in sd15 sdxl; do
    diffpref bench flops --model "$model" diffusion_dpo inpo smpo mapo ncp_dpo
done
if python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    python -m scripts.bench.gpu --out docs/benchmarks
    exit
fi
for adapter in full lora; do
    python -m scripts.bench.step --model tiny --adapter "$adapter" --out docs/benchmarks/cpu-step.json
    python -m scripts.bench.step --model sd15 --adapter "$adapter" --pairs 2 --out docs/benchmarks/cpu-step.json
done
diffpref bench score --prompts 40
