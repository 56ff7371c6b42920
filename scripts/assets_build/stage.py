"""One resumable training loop for every bundled network: AdamW, warm-up + cosine, EMA."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from diffpref.io import load_weights, save_tensors, write_json


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how fast one network trains."""

    steps: int
    batch: int
    lr: float
    warmup: int = 200
    weight_decay: float = 0.01
    ema: float = 0.999
    save_every: int = 500

    def rate(self, step: int) -> float:
        ramp = min(1.0, (step + 1) / self.warmup)
        return self.lr * ramp * 0.5 * (1 + math.cos(math.pi * step / self.steps))


def train(
    name: str,
    nets: Mapping[str, nn.Module],
    loss: Callable[[int], Tensor],
    plan: Plan,
    work: Path,
    probe: Callable[[], Mapping[str, float]] | None = None,
) -> None:
    """Train `nets` on `loss(step)` and leave their EMA weights in place.

    The state lives in work/<name>.safetensors + .json and is picked up when present; the curve is
    appended to work/<name>.jsonl.
    """
    named = {f"{n}.{k}": p for n, net in nets.items() for k, p in net.named_parameters()}
    optimizer = torch.optim.AdamW(named.values(), lr=plan.lr, weight_decay=plan.weight_decay)
    average = {key: value.detach().clone() for key, value in named.items()}
    start, spent = _resume(work / name, named, average, optimizer)
    began, recent = time.monotonic(), []
    for step in range(start, plan.steps):
        optimizer.param_groups[0]["lr"] = plan.rate(step)
        value = loss(step)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(named.values(), 1.0)
        optimizer.step()
        keep = min(plan.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), list(named.values()), 1 - keep)
        recent.append(float(value.detach()))
        if (step + 1) % 100 == 0:
            seconds = spent + time.monotonic() - began
            _log(work / name, step + 1, recent, seconds, plan)
            recent = []
        if (step + 1) % plan.save_every == 0 or step + 1 == plan.steps:
            seconds = spent + time.monotonic() - began
            _save(work / name, named, average, optimizer, step + 1, seconds)
            if probe is not None and (step + 1) % (4 * plan.save_every) == 0:
                _probe(work / name, named, average, probe, step + 1)
    with torch.no_grad():
        for key, value in named.items():
            value.copy_(average[key])


def summary(name: str, work: Path) -> dict[str, object]:
    """Return the recorded steps, seconds and last losses of a finished stage."""
    state = json.loads((work / f"{name}.json").read_text())
    lines = [json.loads(line) for line in (work / f"{name}.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    return {**state, "first_loss": losses[0], "last_loss": losses[-1]}


def _resume(
    base: Path,
    named: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    optimizer: torch.optim.AdamW,
) -> tuple[int, float]:
    if not base.with_suffix(".json").exists():
        return 0, 0.0
    state = json.loads(base.with_suffix(".json").read_text())
    stored = load_weights(base.with_suffix(".safetensors"))
    with torch.no_grad():
        for key, value in named.items():
            value.copy_(stored[f"net.{key}"])
            average[key].copy_(stored[f"ema.{key}"])
            optimizer.state[value] = {
                "step": torch.tensor(float(state["step"])),
                "exp_avg": stored[f"m.{key}"].clone(),
                "exp_avg_sq": stored[f"v.{key}"].clone(),
            }
    return int(state["step"]), float(state["seconds"])


def _save(
    base: Path,
    named: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    optimizer: torch.optim.AdamW,
    step: int,
    seconds: float,
) -> None:
    tensors: dict[str, Tensor] = {}
    for key, value in named.items():
        state = optimizer.state[value]
        tensors |= {f"net.{key}": value.detach(), f"ema.{key}": average[key]}
        tensors |= {f"m.{key}": state["exp_avg"], f"v.{key}": state["exp_avg_sq"]}
    save_tensors(base.with_suffix(".safetensors"), tensors)
    write_json(base.with_suffix(".json"), {"step": step, "seconds": round(seconds, 1)})


def _probe(
    base: Path,
    named: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    probe: Callable[[], Mapping[str, float]],
    step: int,
) -> None:
    """Measure with the averaged weights, then put the trained ones back."""
    kept = {key: value.detach().clone() for key, value in named.items()}
    with torch.no_grad():
        for key, value in named.items():
            value.copy_(average[key])
        found = dict(probe())
        for key, value in named.items():
            value.copy_(kept[key])
    _write(base, {"step": step, **found})


def _log(base: Path, step: int, recent: list[float], seconds: float, plan: Plan) -> None:
    mean = sum(recent) / len(recent)
    rest = seconds / step * (plan.steps - step)
    _write(base, {"step": step, "loss": round(mean, 5), "s": round(seconds), "eta_s": round(rest)})


def _write(base: Path, line: Mapping[str, float]) -> None:
    with base.with_suffix(".jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
