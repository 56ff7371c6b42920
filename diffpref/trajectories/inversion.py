r"""Inversion: x_t read off the trajectory that the network itself would denoise to x_0.

    y_{k+1} = y_k + \epsilon_k (\nu_{k+1} - \nu_k),   y = x / \sqrt{\bar a},
    \nu = \sqrt{(1 - \bar a) / \bar a}                            (2010.02502, eq. 14, reversed)

telescopes from the clean level to t: the noise that explains x_t is the convex combination

    \tau = \sum_k w_k \epsilon_k,   w_k = (\nu_{k+1} - \nu_k) / \nu_t,   \sum_k w_k = 1

which is accumulated directly: nothing is subtracted, nothing divided by a small number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.numerics import widen
from diffpref.schedule import NoiseSchedule
from diffpref.trajectories.ladder import Ladder, exact_ladder, released_ladder
from diffpref.trajectories.priced import Climb
from diffpref.types import Conditioning, Latents, Nets, Noised, PreferenceBatch, Steps

Network = Literal["policy", "reference"]
Rows = Int[Tensor, " m"]
Predict = Callable[[Latents, Steps, Rows], Latents]
"""(x of some rows, the step they are told, which rows) -> epsilon."""

Shake = Callable[[int], Latents]
"""Rung -> standard normals for all rows."""


def inversion(
    schedule: NoiseSchedule,
    *,
    steps: int = 10,
    iters: int = 0,
    weights: Sequence[float] | None = None,
    eval_at: Literal["source", "target"] = "target",
    eta: float = 0.0,
    network: Literal["policy", "reference"] = "policy",
    guidance: float = 1.0,
    grid: Literal["exact", "legacy"] = "exact",
) -> Climb[PreferenceBatch, Noised]:
    r"""Invert every image to its prompt's step, whatever that step is, without gradient.

    Rows of different t climb together; a row that has arrived costs nothing more. DDIM inversion
    with `iters` 0; ReNoise (2403.14602) with more: each rung is taken again from where the last
    prediction led, and the predictions are averaged.

    Args:
        schedule: the base model's noise schedule.
        steps: rungs from clean to the noisiest level; a row at t takes ceil((t + 1) / stride).
        iters: extra predictions per rung.
        weights: of the iters + 1 predictions, normalised; None is equal weights.
        eval_at: the step the network is told: the level a rung leads to, so that it is never
            asked about a clean image, or the level it leaves.
        eta: adds eta x the DDIM posterior's noise after every rung; 0 is deterministic.
        network: which network inverts.
        guidance: classifier-free guidance scale; 1 is none.
        grid: `exact` ends at t. `legacy` repeats the released scripts, which stop at a level of
            their grid and then use t for both the signal power and the network; it evaluates at
            the source level.

    Returns:
        A trajectory to `Noised` points whose noise is the implied one, at least float32; its price
        is rungs x (iters + 1), twice that with guidance.

    Raises:
        ValueError: a setting is out of its range. A missing reference or empty prompt is a
            ConfigError when points are drawn.
    """
    if steps < 1 or steps > len(schedule):
        raise ValueError(f"steps must be 1 to {len(schedule)}, got {steps}")
    if iters < 0 or eta < 0:
        raise ValueError(f"iters and eta must be at least 0, got {iters} and {eta}")
    shares = tuple(weights) if weights is not None else (1.0,) * (iters + 1)
    if len(shares) != iters + 1 or min(shares) < 0 or sum(shares) <= 0:
        raise ValueError(f"weights needs {iters + 1} shares, none below 0, got {list(shares)}")
    levels = Levels(schedule=schedule, released=grid == "legacy")
    climber = Climber(
        levels=levels,
        weights=tuple(share / sum(shares) for share in shares),
        at_source=levels.released or eval_at == "source",
        eta=eta,
    )
    ladder = released_ladder if levels.released else exact_ladder

    @torch.no_grad()
    def trajectory(
        nets: Nets, batch: PreferenceBatch, t: Int[Tensor, " b"], draws: Draws
    ) -> Noised:
        x_0, cond = batch.latents.flatten(0, 1), batch.row_cond()
        rows = t.to(x_0.device).repeat_interleave(batch.latents.shape[1])
        predict = _predictor(nets, batch, network=network, guidance=guidance)
        rungs = ladder(rows, steps=steps, length=len(schedule))

        def shake(rung: int) -> Latents:
            shape, k = tuple(x_0.shape[1:]), batch.latents.shape[1]
            return draws.normal(f"inversion/{rung}", shape, images=k).flatten(0, 1)

        x_t, noise = climber.climb(predict, x_0, rows, rungs, shake)
        return Noised(
            x_t=x_t.to(x_0.dtype),
            t=rows,
            noise=noise,
            cond=cond,
            score=batch.score,
            weight=batch.weight,
        )

    return Climb(follow=trajectory, price=_price(ladder, steps, len(schedule), iters, guidance))


def _price(
    ladder: Callable[..., Ladder], steps: int, length: int, iters: int, guidance: float
) -> Callable[[Steps], Steps]:
    each = (iters + 1) * (1 if guidance == 1 else 2)
    return lambda t: each * ladder(t, steps=steps, length=length).active.sum(dim=1)


@dataclass(frozen=True, kw_only=True)
class Levels:
    r"""\sqrt{\bar a} and \nu of levels, shaped to broadcast over rows.

    The released schedulers read the clean level as level 0 (`set_alpha_to_one: false`).
    """

    schedule: NoiseSchedule
    released: bool

    def abar(self, level: Steps) -> Float[Tensor, "m 1 1 1"]:
        level = level.clamp(min=0) if self.released else level
        return self.schedule.at(level).view(-1, 1, 1, 1)

    def signal(self, level: Steps) -> Float[Tensor, "m 1 1 1"]:
        return self.abar(level).sqrt()

    def nu(self, level: Steps) -> Float[Tensor, "m 1 1 1"]:
        abar = self.abar(level)
        return ((1 - abar) / abar).sqrt()

    def std(self, source: Steps, target: Steps) -> Float[Tensor, "m 1 1 1"]:
        """Return the standard deviation of DDIM's posterior at `source` given `target`."""
        low, high = self.abar(source), self.abar(target)
        return ((1 - low) / (1 - high) * (1 - high / low)).sqrt()


@dataclass(frozen=True, kw_only=True)
class Climber:
    """Takes the rungs of a ladder; the settings are those of `inversion`."""

    levels: Levels
    weights: tuple[float, ...]
    at_source: bool
    eta: float

    def climb(
        self, predict: Predict, x_0: Latents, t: Steps, rungs: Ladder, shake: Shake
    ) -> tuple[Latents, Latents]:
        """Return x_t and the noise that explains it at t."""
        levels, wide = self.levels, torch.promote_types(x_0.dtype, torch.float32)
        start = (x_0 / levels.signal(rungs.source[:, 0])).to(wide)
        drift, level = torch.zeros_like(start), rungs.source[:, 0].clone()
        for rung in range(rungs.source.shape[1]):
            rows = rungs.active[:, rung].nonzero()[:, 0]
            source, target = rungs.source[rows, rung], rungs.target[rows, rung]
            rise = (levels.nu(target) - levels.nu(source)).to(wide)
            here, mean, step, at = drift[rows], torch.zeros_like(drift[rows]), 0.0, source
            for share in self.weights:
                x = levels.signal(at).to(wide) * (start[rows] + here + step)
                eps = widen(predict(x.to(x_0.dtype), source if self.at_source else target, rows))
                mean, step, at = mean + share * eps.to(wide), rise * eps.to(wide), target
            drift[rows] = here + rise * mean
            if self.eta:
                lift = (self.eta * levels.std(source, target) / levels.signal(target)).to(wide)
                drift[rows] += lift * shake(rung).to(start)[rows]
            level[rows] = target
        x_t = levels.signal(level).to(wide) * (start + drift)
        if levels.released:
            return x_t, levels.schedule.noise_between(x_0.to(wide), x_t, t)
        return x_t, drift / levels.nu(t).to(wide)


def _predictor(nets: Nets, batch: PreferenceBatch, *, network: Network, guidance: float) -> Predict:
    """Return the inverting network on rows of a batch, guided if asked for."""
    net = nets.policy if network == "policy" else nets.reference
    if net is None:
        raise ConfigError(
            "inversion by the reference needs one",
            where="reference.kind",
            hint="set reference.kind: adapters_off, or invert with network: policy",
        )
    cond, uncond = batch.row_cond(), batch.row_uncond()
    if guidance == 1:
        return lambda x, t, rows: net(x, t, _of(cond, rows))
    if uncond is None:
        raise ConfigError(
            "guided inversion needs the empty prompt, and the data do not carry it",
            where="parts.trajectory.guidance",
            hint="give PreferenceBatch.uncond, or set guidance: 1",
        )

    def guided(x: Latents, t: Steps, rows: Rows) -> Latents:
        free = widen(net(x, t, _of(uncond, rows)))
        return free + guidance * (widen(net(x, t, _of(cond, rows))) - free)

    return guided


def _of(cond: Conditioning, rows: Rows) -> Conditioning:
    return cond.map(lambda tensor: tensor[rows.to(tensor.device)])
