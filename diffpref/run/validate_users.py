"""Whether a run learns its users: implicit accuracy on held-out people, told whom rows are for.

own: the row's own user, described by other choices. swapped: another user. null: a gate of 0, which
is the reference and must be 1/2. anyone: the zero vector, what the adapter learned of everybody.
Only own above swapped is evidence that the adapter personalises.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from diffpref.data.batches import CachedPairs
from diffpref.data.personal import Personal
from diffpref.evaluate.implicit import grid_point, grid_steps, held_out, standard_error, untied
from diffpref.health import health
from diffpref.likelihoods.latent import latent_loglik
from diffpref.run.assemble import Assembled
from diffpref.run.users import held_out_pairs, variants
from diffpref.schedule import NoiseSchedule
from diffpref.types import Nets, PreferenceBatch

STEPS, NOISES = 5, 2
"""The grid: steps t, and noises at each."""

GAP = "implicit/own-swapped"
Told = dict[str, PreferenceBatch]


@dataclass(kw_only=True)
class UserValidator:
    """Measures the policy against its reference on the same pairs and noises for every variant.

    The held-out rows are cached at the first call. Only the main process works. No drift ends a
    run: `enough` stays False.
    """

    enough: ClassVar[bool] = False

    run: Assembled
    accelerator: Accelerator
    _pairs: CachedPairs | None = field(default=None, repr=False)

    def __call__(self, step: int) -> Mapping[str, float]:
        """Return implicit/<variant>, implicit/own-swapped and its standard error over pairs."""
        del step
        metrics: dict[str, float] = {}
        settings = self.run.config.users
        if settings is not None and settings.held_out and self.accelerator.is_main_process:
            metrics = self._measured()
        self.accelerator.wait_for_everyone()
        return metrics

    def _measured(self) -> dict[str, float]:
        bundle, users = self.run.bundle, self.run.users
        assert isinstance(users, Personal)
        if self._pairs is None:
            self._pairs = held_out_pairs(self.run.config, bundle, users)
        was = bundle.unet.training
        bundle.unet.eval()
        try:
            return measure_users(self.run.learner.nets, bundle.schedule, self._pairs)
        finally:
            bundle.unet.train(was)


@torch.no_grad()
def measure_users(
    nets: Nets, schedule: NoiseSchedule, pairs: CachedPairs, *, steps: int = STEPS
) -> dict[str, float]:
    """Return every variant's implicit accuracy and margin on held-out pairs.

    Args:
        nets: the policy and its reference, which is measured once for all variants.
        schedule: the model's noise schedule.
        pairs: held-out rows with users.
        steps: t of the grid, NOISES noises at each.

    Returns:
        implicit/<variant>, implicit_margin/<variant>, and the gap between own and swapped with
        its standard error over pairs.
    """
    right: dict[str, list[Tensor]] = {}
    margins: dict[str, list[Tensor]] = {}
    for told in _batches(pairs):
        for name, (agreed, margin) in _measured(nets, schedule, told, steps).items():
            right.setdefault(name, []).append(agreed)
            margins.setdefault(name, []).append(margin)
    metrics = {f"implicit/{name}": float(torch.cat(rows).mean()) for name, rows in right.items()}
    for name, rows in margins.items():
        metrics[f"implicit_margin/{name}"] = float(torch.cat(rows).mean())
    gap = torch.cat(right["own"]) - torch.cat(right["swapped"])
    return metrics | {GAP: float(gap.mean()), f"{GAP}_se": standard_error(gap)}


def _batches(pairs: CachedPairs) -> Iterator[Told]:
    """Yield the held-out batches in every variant; null, which is known, in the first only."""
    told = variants(pairs)
    streams = {name: held_out(each) for name, each in told.items()}
    for number, batches in enumerate(zip(*streams.values(), strict=True)):
        found: Told = {}
        for name, batch in zip(streams, batches, strict=True):
            kept = untied(batch)
            if kept is not None and (name != "null" or number == 0):
                found[name] = kept
        if found:
            yield found


def _measured(
    nets: Nets, schedule: NoiseSchedule, told: Told, steps: int
) -> dict[str, tuple[Float[Tensor, " b"], Float[Tensor, " b"]]]:
    """Return each variant's agreement and margin per pair, averaged over the grid, in float64."""
    grid = [(t, j) for t in grid_steps(len(schedule), steps) for j in range(NOISES)]
    sums: dict[str, list[Tensor]] = {name: [] for name in told}
    shape = told["own"].latents.shape[:2]
    assert nets.reference is not None  # a run with users compares with the gate closed
    for t, j in grid:
        point = grid_point(schedule, told["own"], t=t, noise=j, seed=0)
        theirs = latent_loglik(nets.reference, point).cpu().double().view(shape)
        for name, batch in told.items():
            mine = replace(point, cond=batch.row_cond())
            ours = latent_loglik(nets.policy, mine).cpu().double().view(shape)
            found = health(ours, theirs, batch.score.double())
            sums[name].append(torch.stack([found["implicit_accuracy"], found["margin"]]).double())
    means = {name: torch.stack(rows).mean(dim=0) for name, rows in sums.items()}
    return {name: (mean[0], mean[1]) for name, mean in means.items()}
