"""The fastest attention kernel of a shape, found by trying all of them once."""

import math
import statistics
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from logging import getLogger
from typing import Any

import torch
from torch import Tensor

from diffpref.draws import generator
from diffpref.models.kernels import KERNELS, Site, lacking

Timer = Callable[[Callable[[], object]], float]
"""Runs something several times; returns the milliseconds of one run."""

TIE = 0.03
"""Torch's own choice stays unless another is faster by more than this share: two timings of one
kernel differ by as much."""

WARM, RUNS = 3, 11

log = getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A shape, the kernel chosen for it, and the milliseconds of every kernel that could run."""

    site: Site
    kernel: str
    ms: Mapping[str, float]

    def plain(self) -> dict[str, object]:
        return {**asdict(self.site), "kernel": self.kernel, "ms": dict(self.ms)}

    def told(self) -> str:
        """Return a sentence."""
        at = self.site
        rest = ", ".join(f"{name} {ms:.2f}" for name, ms in self.ms.items())
        what = f"attention {at.queries} x {at.keys}, {at.heads} heads of {at.width}"
        return f"{what}: {self.kernel} (ms: {rest or 'none could be timed'})"


def on_cuda(run: Callable[[], object]) -> float:
    """Time something on the current GPU by its own clock: the median of 11 runs after 3."""
    for _ in range(WARM):
        run()
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(RUNS)]
    for before, after in marks:
        before.record()
        run()
        after.record()
    torch.cuda.synchronize()
    return statistics.median(before.elapsed_time(after) for before, after in marks)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where kernels are tried: images of a pass, its precision and device, and what times."""

    rows: int
    dtype: torch.dtype
    device: torch.device
    timer: Timer = on_cuda

    def fastest(self, site: Site) -> Timed:
        """Time a forward and a backward pass of every kernel at a shape.

        Returns:
            The fastest kernel; torch's own choice where that is as fast, or where nothing else
            could run.
        """
        known = [name for name in KERNELS if lacking(name, self.device) is None]
        found = {name: self.time(name, site) for name in known}
        ms = {name: value for name, value in found.items() if value is not None}
        own = ms.get("sdpa", math.inf)
        faster = {name: value for name, value in ms.items() if value < (1 - TIE) * own}
        best = min(faster, key=lambda name: faster[name], default="sdpa")
        return Timed(site=site, kernel=best, ms=ms)

    def time(self, kernel: str, site: Site) -> float | None:
        """Return the milliseconds, or None for a kernel that does not compute this shape here."""

        def normal(length: int) -> Tensor:
            shape = (self.rows, site.heads, length, site.width)
            drawn = torch.randn(
                shape, generator=generator(0, length, "attention"), dtype=torch.float32
            )
            return drawn.to(self.device, self.dtype).requires_grad_()

        def run() -> None:
            with torch.enable_grad():
                out = KERNELS[kernel].attend(*inputs)
                torch.autograd.grad(out, inputs, torch.ones_like(out))

        try:
            inputs: Any = (normal(site.queries), normal(site.keys), normal(site.keys))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch says at length why a kernel cannot run
                return self.timer(run)
        except (RuntimeError, ValueError, ImportError, AttributeError) as error:
            # each package has its own way to say that it has no kernel; lack of memory is one too
            log.debug("attention kernel %s at %s: %s", kernel, site, error)
            return None
