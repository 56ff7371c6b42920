"""Counts what online training spends: network rows, decoded images, rewards."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffpref.train.processes import Processes
from diffpref.types import Conditioning, Denoiser, Latents, Steps


@dataclass(kw_only=True)
class Tally:
    """Numbers of rows since the run began, on this process.

    unet: rows through the sampling network; guidance counts twice. learning: rows through the
    networks that learn. In both a backward pass counts as two forward passes. decoded: latents
    turned into images. rewarded: rewards asked for. everyone: adds counts up over processes.
    """

    unet: int = 0
    learning: int = 0
    decoded: int = 0
    rewarded: int = 0
    everyone: Callable[[Tensor], Tensor] = field(default=lambda counts: counts, repr=False)

    def counted(self, net: Denoiser) -> Denoiser:
        """Return the network, its rows counted."""

        def count(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
            self.unet += _work(x_t)
            return net(x_t, t, cond)

        return count

    def learned(self, net: Denoiser) -> Denoiser:
        """Return a network of a method that samples while it learns, its rows counted."""

        def count(x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents:
            self.learning += _work(x_t)
            return net(x_t, t, cond)

        return count

    def report(self) -> dict[str, float]:
        """Return the counts of all processes; all must call."""
        mine = [self.unet, self.learning, self.decoded, self.rewarded]
        names = ("calls/unet", "calls/unet_learning", "calls/vae", "calls/reward")
        return dict(zip(names, map(float, self.everyone(torch.tensor(mine))), strict=True))

    def restore(self, report: Mapping[str, float]) -> None:
        """Go on counting from an earlier report."""
        self.unet = int(report["calls/unet"])
        self.learning = int(report["calls/unet_learning"])
        self.decoded = int(report["calls/vae"])
        self.rewarded = int(report["calls/reward"])


def _work(x_t: Latents) -> int:
    return len(x_t) * (3 if torch.is_grad_enabled() else 1)


def added_up(processes: Processes, counts: Tensor) -> Tensor:
    """Return the sum of every process's counts."""
    everyone = processes.gather(counts.to(processes.device))
    return everyone.view(processes.num_processes, -1).sum(dim=0)
