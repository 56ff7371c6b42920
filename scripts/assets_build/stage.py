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

LOG_EVERY = 100
PROBE_EVERY = 4
"""Saves between probes."""


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


@dataclass(frozen=True, kw_only=True)
class State:
    """What a stage resumes from: weights by name, their running average, and the optimizer."""

    live: Mapping[str, nn.Parameter]
    average: Mapping[str, Tensor]
    optimizer: torch.optim.AdamW

    def update(self, step: int, decay: float) -> None:
        """Move the average; early on it follows faster, so that it forgets the start."""
        keep = min(decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, kept in self.average.items():
                kept.lerp_(self.live[name], 1 - keep)

    def put(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self.live.items():
                value.copy_(values[name])


def train(
    name: str,
    nets: Mapping[str, nn.Module],
    loss: Callable[[int], Tensor],
    plan: Plan,
    work: Path,
    *,
    probe: Callable[[], Mapping[str, float]] | None = None,
) -> None:
    """Train `nets` on `loss(step)` and leave their averaged weights in place.

    The state lives in work/<name>.safetensors + .json and is picked up when present; the curve is
    appended to work/<name>.jsonl. `probe` measures the averaged weights now and then.
    """
    live = {f"{n}.{k}": p for n, net in nets.items() for k, p in net.named_parameters()}
    optimizer = torch.optim.AdamW(live.values(), lr=plan.lr, weight_decay=plan.weight_decay)
    average = {key: value.detach().clone() for key, value in live.items()}
    state, base = State(live=live, average=average, optimizer=optimizer), work / name
    start, spent = _resume(base, state)
    began, recent = time.monotonic() - spent, list[float]()
    for step in range(start, plan.steps):
        optimizer.param_groups[0]["lr"] = plan.rate(step)
        value = loss(step)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(live.values(), 1.0)
        optimizer.step()
        state.update(step, plan.ema)
        recent.append(float(value.detach()))
        seconds = time.monotonic() - began
        if (step + 1) % LOG_EVERY == 0:
            _log(base, step + 1, recent, seconds, plan)
            recent.clear()
        if (step + 1) % plan.save_every == 0 or step + 1 == plan.steps:
            _save(base, state, step + 1, seconds)
            if probe is not None and (step + 1) % (PROBE_EVERY * plan.save_every) == 0:
                _probe(base, state, probe, step + 1)
    state.put(average)


def summary(name: str, work: Path) -> dict[str, object]:
    """Return the recorded steps, seconds and first and last losses of a finished stage."""
    state = json.loads((work / f"{name}.json").read_text())
    lines = [json.loads(line) for line in (work / f"{name}.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    return {**state, "first_loss": losses[0], "last_loss": losses[-1]}


def _resume(base: Path, state: State) -> tuple[int, float]:
    if not base.with_suffix(".json").exists():
        return 0, 0.0
    found = json.loads(base.with_suffix(".json").read_text())
    stored = load_weights(base.with_suffix(".safetensors"))
    state.put({key: stored[f"net.{key}"] for key in state.live})
    for key, value in state.live.items():
        state.average[key].copy_(stored[f"ema.{key}"])
        state.optimizer.state[value] = {
            "step": torch.tensor(float(found["step"])),
            "exp_avg": stored[f"m.{key}"].clone(),
            "exp_avg_sq": stored[f"v.{key}"].clone(),
        }
    return int(found["step"]), float(found["seconds"])


def _save(base: Path, state: State, step: int, seconds: float) -> None:
    tensors: dict[str, Tensor] = {}
    for key, value in state.live.items():
        moments = state.optimizer.state[value]
        tensors |= {f"net.{key}": value.detach(), f"ema.{key}": state.average[key]}
        tensors |= {f"m.{key}": moments["exp_avg"], f"v.{key}": moments["exp_avg_sq"]}
    save_tensors(base.with_suffix(".safetensors"), tensors)
    write_json(base.with_suffix(".json"), {"step": step, "seconds": round(seconds, 1)})


def _probe(base: Path, state: State, probe: Callable[[], Mapping[str, float]], step: int) -> None:
    """Measure with the averaged weights, then put the trained ones back."""
    kept = {key: value.detach().clone() for key, value in state.live.items()}
    state.put(state.average)
    found = dict(probe())
    state.put(kept)
    _write(base, {"step": step, **found})


def _log(base: Path, step: int, recent: list[float], seconds: float, plan: Plan) -> None:
    mean = sum(recent) / len(recent)
    rest = seconds / step * (plan.steps - step)
    _write(base, {"step": step, "loss": round(mean, 5), "s": round(seconds), "eta_s": round(rest)})


def _write(base: Path, line: Mapping[str, float]) -> None:
    with base.with_suffix(".jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
