"""Preference health: what every prompt measured, averaged over steps and split by timestep."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

BINS = 10
"""Equal bins of the timestep."""

BINNED = ("margin", "implicit_accuracy", "winner_drift", "loser_drift", "step_kl", "gap")
ACCURACY_DECAY = 0.98
"""Per optimizer step, of the running implicit accuracy."""

NOT_AVERAGED = ("t",)


@dataclass
class Health:
    """Sums since the last report, and the running implicit accuracy of the whole run.

    A prompt whose value is NaN has none of that name and does not count in its mean.
    """

    length: int
    sums: dict[str, float] = field(default_factory=dict[str, float])
    known: dict[str, int] = field(default_factory=dict[str, int])
    bins: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    counts: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    prompts: int = 0
    accuracy: float = 0.5

    def add(self, metrics: Mapping[str, Tensor], gather: Callable[[Tensor], Tensor]) -> None:
        """Count one step; every process passes its own prompts and counts everyone's."""
        everyone = {name: gather(value.detach().float()).cpu() for name, value in metrics.items()}
        for name, value in everyone.items():
            if name not in NOT_AVERAGED:
                self.sums[name] = self.sums.get(name, 0.0) + float(value.double().nansum())
                self.known[name] = self.known.get(name, 0) + int((~value.isnan()).sum())
        self.prompts += len(next(iter(everyone.values())))
        if "t" in everyone:
            self._add_bins(everyone)
        if "implicit_accuracy" in everyone:
            now = float(everyone["implicit_accuracy"].mean())
            self.accuracy = ACCURACY_DECAY * self.accuracy + (1 - ACCURACY_DECAY) * now

    def report(self) -> dict[str, object]:
        """Return the means since the last report and start over.

        A bin no prompt fell into is null.
        """
        found: dict[str, object] = {
            name: total / self.known[name] if self.known[name] else math.nan
            for name, total in self.sums.items()
        }
        if "implicit_accuracy" in self.sums:
            found["implicit_accuracy_ema"] = self.accuracy
        if self.bins:
            found["by_t"] = {
                name: [
                    total / count if count else None
                    for total, count in zip(totals, self.counts[name], strict=True)
                ]
                for name, totals in self.bins.items()
            }
        self.sums, self.known, self.bins, self.counts, self.prompts = {}, {}, {}, {}, 0
        return found

    def _add_bins(self, everyone: Mapping[str, Tensor]) -> None:
        place = (everyone["t"].double() * BINS / self.length).floor().clamp(0, BINS - 1).long()
        for name in BINNED:
            if name in everyone:
                value = everyone[name].double()
                totals = _binned(place, value.nan_to_num(0.0))
                counts = _binned(place, (~value.isnan()).double())
                self.bins[name] = _added(self.bins.get(name), totals)
                self.counts[name] = _added(self.counts.get(name), counts)


def _binned(place: Tensor, value: Tensor) -> Tensor:
    return torch.zeros(BINS, dtype=torch.float64).index_add_(0, place, value)


def _added(old: list[float] | None, new: Tensor) -> list[float]:
    return [a + float(b) for a, b in zip(old or [0.0] * BINS, new, strict=True)]


def finite(report: Mapping[str, object]) -> dict[str, object]:
    """Return the report with what JSON has no word for as null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in report.items()
    }
