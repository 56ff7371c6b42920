"""How far a policy is from where it started, measured on a fixed set of preferred images."""

from collections.abc import Callable, Iterator

import torch

from diffpref.data.batches import CachedPairs
from diffpref.draws import Draws
from diffpref.likelihoods import latent_loglik
from diffpref.schedule import NoiseSchedule
from diffpref.types import Denoiser, Noised

BATCH = 16


def make_probe(
    pairs: CachedPairs, policy: Denoiser, schedule: NoiseSchedule, count: int
) -> Callable[[], float]:
    """Return a function that measures the policy's divergence from what it is now.

    Equation:
        D = mean over the probe of |eps - eps_theta|^2 - |eps - eps_start|^2, means over c, h, w
        (2505.18736, eq. 8, without its weights and T)

    The probe is the preferred image of `count` rows spread evenly over the data, each with its own
    noise and with steps spread evenly over the schedule. The start's errors are measured once, so
    that no third network is held. Every process measures the same.
    """
    points = list(_points(pairs, schedule, count))
    start = _mean_error(policy, points)
    return lambda: _mean_error(policy, points) - start


@torch.no_grad()
def _mean_error(policy: Denoiser, points: list[Noised]) -> float:
    errors = torch.cat([-2 * latent_loglik(policy, point).double().cpu() for point in points])
    return float(errors.mean())


def _points(pairs: CachedPairs, schedule: NoiseSchedule, count: int) -> Iterator[Noised]:
    """Yield the probe in batches of images of one size."""
    total, steps = len(pairs.cache.rows), len(schedule)
    count = min(count, total)
    steps_of = {i * total // count: (2 * i + 1) * steps // (2 * count) for i in range(count)}
    for group in pairs.groups():
        chosen = [number for number in group if number in steps_of]
        for first in range(0, len(chosen), BATCH):
            numbers = chosen[first : first + BATCH]
            batch = pairs.batch_of(numbers, torch.tensor(numbers), drop=False)
            best = batch.score.argmax(dim=1)
            b, k = batch.score.shape
            rows = torch.arange(b) * k + best
            x_0 = batch.latents.flatten(0, 1)[rows]
            t = torch.tensor([steps_of[number] for number in numbers])
            draws = Draws(pairs.seed, torch.tensor(numbers))
            noise = draws.normal("probe", tuple(x_0.shape[1:])).to(x_0)
            yield Noised(
                x_t=schedule.noised(x_0, noise, t),
                t=t,
                noise=noise,
                cond=batch.row_cond().map(lambda tensor, rows=rows: tensor[rows]),
                score=torch.ones(b, 1),
            )
