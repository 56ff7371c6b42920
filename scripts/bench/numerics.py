"""What every option that saves memory or time does to the numbers: losses beside the plain run's.

    python -m scripts.bench.numerics          # about three minutes on one thread

Full fine-tuning of the bundled model by Diffusion-DPO (and InPO, for its inversion; a LoRA, for its
base of 8 bits) on the same pairs, noise and t. Writes docs/benchmarks/numerics.{json,md}: how far
the losses of each option are from those of the run it stands for, and how far precision moves the
logit.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from diffpref.cli.machine import gemm_gflops, processor
from diffpref.config import load_config
from diffpref.data.batches import CachedPairs
from diffpref.draws import Draws
from diffpref.io import write_atomic, write_json
from diffpref.likelihoods.latent import latent_loglik
from diffpref.run.assemble import Assembled, assemble
from diffpref.run.data import cache_of
from diffpref.run.model import load_model, make_accelerator
from diffpref.train.step import take_step
from diffpref.trajectories.forward import forward

OUT = Path("docs/benchmarks")
STEPS, PAIRS, ROWS = 12, 4, 48
BETA = 5000.0
EXACT, ROUNDED = 1e-4, 0.05
"""Largest difference of a loss: float32 in another order, and bfloat16's rounding of weights."""

BASE = (
    "adapter.kind=full",
    "reference.kind=frozen",
    "optimizer.lr=2e-5",
    "optimizer.warmup=0",
    "loop.max_grad_norm=null",
    f"data.max_rows={ROWS}",
)
BF16 = "model.dtype=bf16"
STORAGES = ("int8", "fp8")
LORA = ("adapter.kind=lora", "reference.kind=adapters_off", "optimizer.lr=1e-3")
SLICED = ("data.pairs_per_batch=1", f"loop.micro_batches={PAIRS}")


@dataclass(frozen=True, kw_only=True)
class Option:
    """A run beside the run it stands for. `within`: the largest difference of a loss."""

    name: str
    changes: tuple[str, ...]
    to: str
    within: float


PLAIN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "fp32": ("shapes/dpo", ()),
    "bf16, fp32 weights": ("shapes/dpo", (BF16,)),
    "inpo": ("shapes/inpo", SLICED),
    "adafactor": ("shapes/dpo", ("optimizer.name=adafactor",)),
    "lora": ("shapes/dpo", LORA),
}
"""The runs others stand for: preset and changes."""


def _exact(name: str, *changes: str, to: str = "fp32") -> Option:
    return Option(name=name, changes=changes, to=to, within=EXACT)


OPTIONS = (
    _exact("one pair a pass", *SLICED),
    _exact("one image a pass", "loop.rows_per_pass=1"),
    _exact("reference in main memory", "reference.offload=true", *SLICED),
    _exact("keep_matmuls", "model.gradient_checkpointing=keep_matmuls"),
    _exact("keep_convs", "model.gradient_checkpointing=keep_convs"),
    _exact("full checkpointing", "model.gradient_checkpointing=true"),
    _exact("channels last", "model.channels_last=true"),
    _exact("updates in the backward pass", "optimizer.in_backward=true"),
    _exact("inversion, two images a pass", "loop.rows_ahead=2", to="inpo"),
    _exact("inversion, the whole window at once", "loop.rows_ahead=8", to="inpo"),
    *(
        Option(
            name=f"bf16 weights, {precision}",
            changes=(BF16, f"adapter.precision={precision}"),
            to="bf16, fp32 weights",
            within=ROUNDED,
        )
        for precision in ("split", "kahan", "stochastic")
    ),
    Option(name="bf16, fp32 weights", changes=(BF16,), to="fp32", within=ROUNDED),
    *(
        Option(
            name=f"LoRA on a base of 8 bits, {kind}",
            changes=(f"model.storage={kind}",),
            to="lora",
            within=ROUNDED,
        )
        for kind in STORAGES
    ),
    Option(
        name="adafactor_flat",
        changes=("optimizer.name=adafactor_flat",),
        to="adafactor",
        within=ROUNDED,
    ),
)


def run_of(preset: str, changes: Sequence[str], root: Path) -> Assembled:
    """Assemble a run; a later change of a field takes the place of an earlier one."""
    pairs = f"data.pairs_per_batch={PAIRS}"
    config = load_config(preset, [*BASE, pairs, f"data.cache={root / 'cache'}", *changes])
    accelerator = make_accelerator(config, root)
    bundle = load_model(config, accelerator)
    assert config.data is not None  # the presets have data
    return assemble(config, accelerator, bundle, cache_of(config.data, bundle, config.seed))


def losses_of(run: Assembled) -> list[float]:
    windows = iter(run.source(run.learner.nets, 0))
    found: list[float] = []
    for step in range(STEPS):
        window = next(windows)
        result = take_step(run.learner, window, window.positions, step, run.plan.rows_per_pass)
        found.append(float(result.loss.value))
    return found


def beside(option: Option, losses: Sequence[float], plain: Sequence[float]) -> dict[str, Any]:
    """Return how far losses are from the plain run's; the residual's mean with its error."""
    residual = [a - b for a, b in zip(losses, plain, strict=True)]
    error = statistics.stdev(residual) / len(residual) ** 0.5
    largest = max(map(abs, residual))
    return {
        "to": option.to,
        "largest": largest,
        "mean": statistics.mean(residual),
        "standard_error": error,
        "within": option.within,
        "holds": largest <= option.within,
        "losses": losses,
    }


def logit_noise(root: Path) -> dict[str, float]:
    """Return root mean squares, in logits at beta 5000, of precision's part and of the signal.

    The policy is the plain run's after its steps. "both": policy and reference in bfloat16;
    "cached": a float32 reference, as kept errors are, beside a policy in bfloat16. "lora" is the
    signal of a LoRA, "int8" and "fp8" what a base of 8 bits under policy and reference puts it off.
    """
    fp32, half = run_of("shapes/dpo", (), root), run_of("shapes/dpo", (BF16,), root)
    policy, reference = after_steps(fp32)
    low, low_reference = as_after(half, fp32)
    exact = logit(policy, reference)
    lora = run_of("shapes/dpo", LORA, root)
    on_lora = logit(*after_steps(lora))
    kept = {
        kind: as_after(run_of("shapes/dpo", (*LORA, f"model.storage={kind}"), root), lora)
        for kind in STORAGES
    }
    return {
        "signal": size(exact),
        "both": size(logit(low, low_reference) - exact),
        "cached": size(logit(low, reference) - exact),
        "lora": size(on_lora),
        **{kind: size(logit(*found) - on_lora) for kind, found in kept.items()},
    }


def after_steps(run: Assembled) -> tuple[torch.Tensor, torch.Tensor]:
    """Train a run and return its policy's and its reference's log likelihoods."""
    losses_of(run)
    return log_likelihoods(run)


def as_after(run: Assembled, trained: Assembled) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a run's log likelihoods with what another has learnt."""
    for name, weight in run.learner.parameters.items():
        weight.data.copy_(trained.learner.parameters[name].data)
    return log_likelihoods(run)


def log_likelihoods(run: Assembled) -> tuple[torch.Tensor, torch.Tensor]:
    """Return those of one window, whatever the run, at the same noise and t."""
    source, nets = run.source, run.learner.nets
    assert isinstance(source, CachedPairs)
    assert nets.reference is not None
    window = next(iter(source(nets, 0)))
    draws = Draws(7, window.positions)
    t = draws.integers("t", 0, len(run.bundle.schedule))
    point = forward(run.bundle.schedule)(nets, window, t, draws)
    with torch.no_grad():
        return latent_loglik(nets.policy, point), latent_loglik(nets.reference, point)


def logit(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    r = (policy - reference).view(-1, 2)
    return BETA * (r[:, 0] - r[:, 1])


def size(value: torch.Tensor) -> float:
    return float(value.square().mean().sqrt())


def page(found: Mapping[str, Any]) -> str:
    """Return the page."""
    noise, machine = found["logit_noise"], found["machine"]
    rows = [
        f"| {name} | {row['to']} | {row['largest']:.1e} | {row['mean']:+.1e} ± "
        f"{row['standard_error']:.0e} | {row['within']:g} | {'yes' if row['holds'] else '**no**'} |"
        for name, row in found["options"].items()
    ]
    return "\n".join(
        [
            "# Numerics of what saves memory or time",
            "",
            "Made by `python -m scripts.bench.numerics`. Full fine-tuning of the bundled model "
            "(`lora`: a LoRA of rank 16, lr 1e-3), "
            f"{STEPS} steps of {PAIRS} pairs, AdamW, lr 2e-5, no clipping; same pairs, noise, t. "
            f"{machine['processor']}, {machine['gemm_gflops']} GFLOP/s. Difference of each step's "
            "loss from the run the option stands for; mean with its standard error over steps.",
            "",
            "| option | beside | largest difference | mean | tolerance | holds |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"Precision in the logit (beta {BETA:g}, root mean square over pairs, after those "
            f"steps): signal {noise['signal']:.3f}; policy and reference in bf16 "
            f"{noise['both']:.3f} off; bf16 policy beside a cached fp32 reference "
            f"{noise['cached']:.3f} off. Under a LoRA (lr 1e-3, signal {noise['lora']:.3f}) a base "
            f"of 8 bits, the same for policy and reference: int8 {noise['int8']:.3f} off, fp8 "
            f"{noise['fp8']:.3f} off.",
            "",
        ]
    )


def main() -> None:
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        plain = {
            name: losses_of(run_of(preset, extra, root)) for name, (preset, extra) in PLAIN.items()
        }
        found: dict[str, Any] = {}
        for option in OPTIONS:
            preset, extra = PLAIN[option.to]
            losses = losses_of(run_of(preset, (*extra, *option.changes), root))
            found[option.name] = beside(option, losses, plain[option.to])
            sys.stdout.write(f"{option.name}: {found[option.name]['largest']:.2e}\n")
            sys.stdout.flush()
        told = {
            "options": found,
            "plain": plain,
            "logit_noise": logit_noise(root),
            "machine": {"processor": processor(), "gemm_gflops": round(gemm_gflops(), 1)},
        }
    write_json(OUT / "numerics.json", told)
    write_atomic(OUT / "numerics.md", page(told).encode())


if __name__ == "__main__":
    main()
