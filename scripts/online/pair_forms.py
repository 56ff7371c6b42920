"""The pair loss as one inner product against both candidates run through the network.

    python scripts/online/pair_forms.py [OUT.json]      # bundled model, CPU, float32

Prints the largest difference of the two gradients relative to their length, and of each form the
images the network was run on, seconds, and bytes kept for the backward pass.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpref.cli.machine import gemm_gflops, processor
from diffpref.io import write_json
from diffpref.kernel import gains, pair_logit
from diffpref.models import load_bundle
from diffpref.models.unet import make_denoiser
from diffpref.schedule import NoiseSchedule
from diffpref.steps import State, StepPairs, StepPlan, predict
from diffpref.trajectories.stepping import mean_of
from diffpref.types import Conditioning, Denoiser, Latents

PAIRS, REPEATS, BETA = 4, 5, 10.0
Form = Callable[[Denoiser, Denoiser, NoiseSchedule, StepPairs], Tensor]


def closed(
    policy: Denoiser, reference: Denoiser, schedule: NoiseSchedule, pairs: StepPairs
) -> Tensor:
    """Return the loss with one call of each network per pair."""
    state, plan = pairs.state, pairs.plan
    gain = gains(schedule, state.t, state.s, eta=plan.eta)
    with torch.no_grad():
        theirs = predict(reference, state, plan.guidance)
    logit = pair_logit(gain, pairs.dz, predict(policy, state, plan.guidance), theirs)
    return -F.logsigmoid(BETA * logit).mean()


def both(
    policy: Denoiser, reference: Denoiser, schedule: NoiseSchedule, pairs: StepPairs
) -> Tensor:
    """Return the loss as the released SPO and D3PO scripts compute it: a call per candidate."""
    state, plan = pairs.state, pairs.plan
    assert pairs.mid is not None
    move = schedule.transition(state.t, state.s, eta=plan.eta)
    std = move.std.to(pairs.mid).view(-1, 1, 1, 1)

    def density(net: Denoiser, x_s: Latents) -> Tensor:
        mean = mean_of(move, state.x_t, predict(net, state, plan.guidance))
        return -((x_s - mean) / std).square().flatten(1).mean(dim=1) / 2

    sides: list[Tensor] = []
    for sign in (0.5, -0.5):
        x_s = pairs.mid + sign * std * pairs.dz
        with torch.no_grad():
            theirs = density(reference, x_s)
        sides.append(density(policy, x_s) - theirs)
    return -F.logsigmoid(BETA * (sides[0] - sides[1])).mean()


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What one loss and its backward pass took."""

    grads: list[Tensor]
    seconds: float
    kept_bytes: int


def spent(form: Form, net: nn.Module, run: Callable[[Form], Tensor]) -> Spent:
    """Run one form: the gradient, the median time, the bytes autograd keeps besides weights."""
    weights = {parameter.data_ptr() for parameter in net.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = run(form)
    loss.backward()
    times: list[float] = []
    for _ in range(REPEATS):
        net.zero_grad(set_to_none=True)
        start = time.perf_counter()
        run(form).backward()
        times.append(time.perf_counter() - start)
    grads = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    return Spent(grads=grads, seconds=median(times), kept_bytes=sum(kept.values()))


def main() -> None:
    """Measure both forms, print, write."""
    bundle = load_bundle("builtin:base")
    bundle.unet.requires_grad_(True)
    policy, rng = make_denoiser(bundle.unet, bundle), torch.Generator().manual_seed(0)
    shape = (PAIRS, *bundle.latent_shape(bundle.resolution, bundle.resolution))
    noise = [torch.randn(shape, generator=rng) for _ in range(4)]
    t, s = torch.full((PAIRS,), 501), torch.full((PAIRS,), 451)
    cond = bundle.encode_text([""] * PAIRS)
    plan = StepPlan(levels=((501, 451),))
    move = bundle.schedule.transition(t, s, eta=1.0)
    mid = mean_of(move, noise[0], noise[1])
    pairs = StepPairs(
        state=State(x_t=noise[0], t=t, s=s, cond=cond),
        dz=noise[2] - noise[3],
        mid=mid + move.std.float().view(-1, 1, 1, 1) * (noise[2] + noise[3]) / 2,
        gap=torch.ones(PAIRS, 1),
        plan=plan,
        positions=torch.arange(PAIRS),
    )
    still = replace(pairs, weight=None)

    def reference(x: Tensor, t: Tensor, told: Conditioning, /) -> Tensor:
        return 0.98 * policy(x, t, told)

    def run(form: Form) -> Tensor:
        return form(policy, reference, bundle.schedule, still)

    found = {form.__name__: spent(form, bundle.unet, run) for form in (closed, both)}
    one, two = found["closed"].grads, found["both"].grads
    apart = sum(float((a - b).square().sum()) for a, b in zip(one, two, strict=True)) ** 0.5
    long = sum(float(b.square().sum()) for b in two) ** 0.5
    record = {
        "gradients_apart": apart / long,
        "seconds": {name: each.seconds for name, each in found.items()},
        "kept_bytes": {name: each.kept_bytes for name, each in found.items()},
        "images": {"closed": 2 * PAIRS, "both": 4 * PAIRS},
        "machine": {"processor": processor(), "gemm_gflops": gemm_gflops()},
    }
    for name, value in record.items():
        sys.stdout.write(f"{name}: {value}\n")
    if len(sys.argv) > 1:
        write_json(Path(sys.argv[1]), record)


if __name__ == "__main__":
    main()
