r"""Held-out implicit accuracy: does the policy, as its own reward model, prefer what people chose?

    r(x) = 1/|G| \sum_{(t, \epsilon) in G} log p_\theta(x_t) - log p_ref(x_t)

on one fixed grid G of steps and noises, so that two models, or two checkpoints of one run, are
measured on the same points. The implicit reward of Diffusion-DPO is beta r (2311.12908, eq. 14).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.data.batches import CachedPairs
from diffpref.data.cache import Cache
from diffpref.draws import Draws
from diffpref.errors import DataError
from diffpref.health import health
from diffpref.likelihoods.latent import latent_loglik
from diffpref.schedule import NoiseSchedule
from diffpref.types import Nets, Noised, PreferenceBatch

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class ImplicitAccuracy:
    """`accuracy`: mean over pairs of the share of grid points where the preferred image has the
    higher log ratio (ties 1/2). `decided`: share of pairs whose mean margin over the grid has the
    right sign. `margin`: mean log-ratio difference. Standard errors are over the `n` pairs.
    `by_t`: accuracy at each step of the grid.
    """

    accuracy: float
    standard_error: float
    decided: float
    decided_error: float
    margin: float
    margin_error: float
    n: int
    by_t: dict[int, float]
    noises: int


def grid_steps(length: int, count: int) -> tuple[int, ...]:
    """Return `count` steps in the middle of equal parts of 0..length-1."""
    return tuple(int((i + 0.5) * length / count) for i in range(count))


@torch.no_grad()
def implicit_accuracy(
    nets: Nets,
    schedule: NoiseSchedule,
    batches: Iterable[PreferenceBatch],
    *,
    steps: Sequence[int],
    noises: int = 2,
    seed: int = 0,
    progress: Progress | None = None,
) -> ImplicitAccuracy:
    """Measure policy against reference on every batch and every point of the grid.

    Args:
        nets: the policy and its reference.
        schedule: the model's noise schedule.
        batches: held-out pairs; positions key the noises.
        steps: the t of the grid.
        noises: noises per step, shared by the images of a prompt.
        seed: of the noises.
        progress: told the pairs done.

    Returns:
        Accuracy and margin with standard errors.

    Raises:
        DataError: there is no pair that is not tied.
    """
    right: list[Tensor] = []
    margins: list[Tensor] = []
    for batch in batches:
        kept = untied(batch)
        if kept is None:
            continue
        found = [
            _measured(nets, schedule, kept, t=t, noise=j, seed=seed)
            for t in steps
            for j in range(noises)
        ]
        shape = (len(steps), noises, -1)
        right.append(torch.stack([agreed for agreed, _ in found]).view(shape))
        margins.append(torch.stack([margin for _, margin in found]).view(shape))
        if progress is not None:
            progress(sum(part.shape[2] for part in right), None)
    if not right:
        hint = "evaluate on rows where somebody chose one image over another"
        raise DataError("no pair is left: all are ties or single images", where="data", hint=hint)
    agreed, margin = torch.cat(right, dim=2), torch.cat(margins, dim=2)
    per_pair, mean_margin = agreed.mean(dim=(0, 1)), margin.mean(dim=(0, 1))
    decided = (mean_margin > 0).double() + 0.5 * (mean_margin == 0).double()
    return ImplicitAccuracy(
        accuracy=float(per_pair.mean()),
        standard_error=standard_error(per_pair),
        decided=float(decided.mean()),
        decided_error=standard_error(decided),
        margin=float(mean_margin.mean()),
        margin_error=standard_error(mean_margin),
        n=len(per_pair),
        by_t={t: float(row.mean()) for t, row in zip(steps, agreed, strict=True)},
        noises=noises,
    )


def standard_error(values: Float[Tensor, " n"]) -> float:
    """Return the standard error of the mean; 0 for a single value."""
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0


def untied(batch: PreferenceBatch) -> PreferenceBatch | None:
    """Return the prompts whose images were not all liked the same, or None."""
    rows = (batch.score != batch.score[:, :1]).any(dim=1)
    if not bool(rows.any()):
        return None
    index = rows.nonzero()[:, 0]
    return PreferenceBatch(
        latents=batch.latents[index],
        cond=batch.cond.map(lambda tensor: tensor[index]),
        score=batch.score[index],
        positions=batch.positions[index],
        time_ids=None if batch.time_ids is None else batch.time_ids[index],
    )


def held_out(pairs: CachedPairs, *, batch: int = 16) -> Iterator[PreferenceBatch]:
    """Yield every cached row once, in order, at the posterior's mean, with its own caption."""
    cache: Cache = pairs.cache
    for group in pairs.groups():
        for start in range(0, len(group), batch):
            numbers = group[start : start + batch]
            rows = [cache.rows[number] for number in numbers]
            geometry = torch.stack([cache.geometry(row) for row in rows])
            flat = geometry.flatten(0, 1)
            told = pairs.time_ids(flat[:, :2], flat[:, 2:4], flat[:, 4:])
            found = PreferenceBatch(
                latents=torch.stack([cache.posterior(row)[0] for row in rows]),
                cond=cache.conditioning([row.prompt for row in rows]),
                score=torch.tensor([row.scores for row in rows]),
                positions=torch.tensor(numbers),
                time_ids=None if told is None else told.view(*geometry.shape[:2], 6),
            )
            yield found if pairs.users is None else pairs.users.tell(found, numbers)


def _measured(
    nets: Nets, schedule: NoiseSchedule, batch: PreferenceBatch, *, t: int, noise: int, seed: int
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Return agreement and margin of each prompt at one point of the grid, in float64."""
    b, k = batch.latents.shape[:2]
    point = grid_point(schedule, batch, t=t, noise=noise, seed=seed)
    policy = latent_loglik(nets.policy, point).cpu().double().view(b, k)
    if nets.reference is None:
        raise ValueError("implicit accuracy compares with a reference")
    reference = latent_loglik(nets.reference, point).cpu().double().view(b, k)
    found = health(policy, reference, batch.score.double())
    return found["implicit_accuracy"].double(), found["margin"].double()


def grid_point(
    schedule: NoiseSchedule, batch: PreferenceBatch, *, t: int, noise: int, seed: int
) -> Noised:
    """Return a batch at one point of the grid: step t, and the noise of this number."""
    b, k = batch.latents.shape[:2]
    x_0 = batch.latents.flatten(0, 1)
    shape = tuple(x_0.shape[1:])
    eps = Draws(seed, batch.positions).normal(f"implicit/{noise}", shape)
    eps = eps.repeat_interleave(k, dim=0).to(x_0)
    rows = torch.full((b * k,), t)
    return Noised(
        x_t=schedule.noised(x_0, eps, rows),
        t=rows,
        noise=eps,
        cond=batch.row_cond(),
        score=batch.score,
    )
