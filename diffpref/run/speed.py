"""How fast a configuration's step is on this machine, on random latents of its own shapes."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from diffpref.config.schema import RunConfig
from diffpref.run.timed import make_bench, step_flops

WARM, ROUNDS = 2, 6


@dataclass(frozen=True, kw_only=True)
class StepSpeed:
    """What a step took.

    device: its name. pairs: prompts of a step. seconds: of every timed step. peak_bytes: most that
    was allocated; model_flops: operations the method asks for; hardware_flops: with what is
    computed again. peak_flops: a second, of this device's own matrix product. kernels: of a step.
    None where the device, or the model's shapes, do not say.
    """

    device: str
    pairs: int
    rows_per_pass: int
    seconds: tuple[float, ...]
    model_flops: int | None
    hardware_flops: int | None
    peak_flops: float
    peak_bytes: int | None = None
    kernels: int | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def pairs_per_second(self) -> float:
        return self.pairs / self.median

    @property
    def mfu(self) -> float | None:
        """Share of the device's matrix product that the method's arithmetic reaches."""
        return None if self.model_flops is None else self._share(self.model_flops)

    @property
    def hfu(self) -> float | None:
        """The same, of all arithmetic."""
        return None if self.hardware_flops is None else self._share(self.hardware_flops)

    def _share(self, flops: int) -> float:
        return flops / self.median / self.peak_flops


def step_speed(config: RunConfig, *, warm: int = WARM, rounds: int = ROUNDS) -> StepSpeed:
    """Time a configuration's step; nothing is read but the model, and nothing is written.

    Args:
        config: what to run. Data are random latents and one prompt's embeddings.
        warm: steps before timing.
        rounds: steps timed.

    Raises:
        ConfigError: the run samples, learns users, or recalls what it keeps.
    """
    bench = make_bench(config)
    for number in range(warm):
        bench.step(number)
    on_cuda = bench.bundle.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = tuple(_timed(lambda at=warm + n: bench.step(at), on_cuda) for n in range(rounds))
    model, hardware = step_flops(bench)
    return StepSpeed(
        device=torch.cuda.get_device_name() if on_cuda else bench.bundle.device.type,
        pairs=len(bench.window.positions),
        rows_per_pass=bench.rows,
        seconds=seconds,
        model_flops=model,
        hardware_flops=hardware,
        peak_flops=matrix_flops(bench.bundle.device, bench.bundle.dtype),
        peak_bytes=torch.cuda.max_memory_allocated() if on_cuda else None,
        kernels=_kernels(lambda: bench.step(warm + rounds)) if on_cuda else None,
    )


def matrix_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations a second of the device's fastest square matrix product."""
    size, times = (8192, 20) if device.type == "cuda" else (1024, 5)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = min(_timed(lambda: torch.mm(left, right), device.type == "cuda") for _ in range(times))
    return 2 * size**3 / best


def _timed(work: Callable[[], Any], on_cuda: bool) -> float:
    if on_cuda:
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if on_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _kernels(work: Callable[[], Any]) -> int:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    kind = torch.autograd.DeviceType.CUDA
    return sum(event.device_type == kind for event in seen.events() or ())
