r"""DiffusionNFT on epsilon: Zheng et al., 2509.16117.

    eps^+ = beta eps_theta + (1 - beta) eps_old,   eps^- = (1 + beta) eps_old - beta eps_theta
    L = A_max / beta [ r d(eps^+) + (1 - r) d(eps^-) ] + kl mean (eps_theta - eps_ref)^2
    d(e) = mean (e - eps)^2 / mean |e - eps|       (the divisor is not differentiated)
    r = 1/2 + A / (2 A_max),   A: reward standardised over a prompt's images, clipped to +-A_max

at x_t, forward noise on the policy's own clean images; eps_old samples them (an average of the
policy; the policy itself where the run has none). Where eps_theta = eps_old the gradient is that of
(2 r - 1) A_max d. Published (released code): beta 1 (0.1 for text rendering), A_max 5, kl 1e-4, 10
steps of a second-order solver, no guidance, old <- moving average.

Departs from the paper: the target is epsilon, where the released code measures d on x_0 of a
rectified flow, whose factor t of at most 1 would be sqrt((1 - abar_t) / abar_t), up to 15, here; t
is shared by a prompt's images; the KL weight 0.1 is ours (of 0, 0.1 and 1 it learnt most within
little drift on a toy problem).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffpref.advantages import advantages
from diffpref.draws import Draws
from diffpref.errors import ConfigError
from diffpref.numerics import widen
from diffpref.papers import Method, Paper
from diffpref.schedule import NoiseSchedule
from diffpref.timesteps import uniform
from diffpref.toolkit import Toolkit
from diffpref.trajectories.forward import forward
from diffpref.types import (
    Denoiser,
    Latents,
    Loss,
    Measure,
    Nets,
    Noised,
    PerImage,
    PerPrompt,
    PerRow,
    PreferenceBatch,
    Steps,
)

LEAST = 1e-5
"""Smallest divisor of d, the released code's."""


@dataclass(frozen=True, kw_only=True)
class Renoised:
    """Noised images, their noise, and what the old policy predicts there, [n c h w]."""

    noised: Noised
    noise: Latents
    old: Latents

    @property
    def score(self) -> PerImage:
        return self.noised.score

    @property
    def t(self) -> Steps:
        return self.noised.t

    @property
    def weight(self) -> PerPrompt | None:
        return self.noised.weight

    def __len__(self) -> int:
        return len(self.noised)

    def rows(self, index: slice, /) -> "Renoised":
        """Slice what `measure` reads; `compare` reads the rest whole."""
        return replace(self, noised=self.noised.rows(index))

    def gathered(self, gather: Callable[[Tensor], Tensor], /) -> "Renoised":
        return Renoised(
            noised=self.noised.gathered(gather), noise=gather(self.noise), old=gather(self.old)
        )


@dataclass(frozen=True, kw_only=True)
class NegativeAware:
    """Attributes: the schedule, the mixture's beta, A_max, the KL's weight, whether the images of a
    prompt share their noise."""

    schedule: NoiseSchedule
    beta: float
    clip: float
    kl: float
    shared_noise: bool

    def __post_init__(self) -> None:
        if not self.beta > 0 or not self.clip > 0:
            raise ValueError(f"beta and clip must be above 0, got {self.beta} and {self.clip}")
        if self.kl < 0:
            raise ValueError(f"kl must be at least 0, got {self.kl}")

    @property
    def couples_batch(self) -> bool:
        return False

    @property
    def prompts_apart(self) -> bool:
        return True

    def draw(self, nets: Nets, batch: PreferenceBatch, draws: Draws, /) -> Renoised:
        """Noise the images and ask the old policy there."""
        t = uniform()(draws, len(self.schedule))
        noised = forward(self.schedule, shared=self.shared_noise)(nets, batch, t, draws)
        old = nets.policy if nets.old is None else nets.old
        return Renoised(noised=noised, noise=noised.noise, old=self._predicted(old, noised))

    def measure(self, net: Denoiser, point: Renoised, /) -> Measure:
        """Return the prediction at each row, [n c h w]."""
        return self._predicted(net, point.noised)

    def compare(self, policy: Measure, reference: Measure | None, point: Renoised, /) -> Loss:
        """Return the mean over prompts of weight x loss, each the mean over its images."""
        shape, old = point.score.shape, point.old.to(policy)
        advantage = advantages(point.score.to(policy), clip=self.clip).flatten()
        r = 0.5 + advantage / (2 * self.clip)
        noise = widen(point.noise).to(policy)
        nearer = _distance(self.beta * policy + (1 - self.beta) * old, noise)
        further = _distance((1 + self.beta) * old - self.beta * policy, noise)
        rows = self.clip / self.beta * (r * nearer + (1 - r) * further)
        metrics: dict[str, PerPrompt] = {"old_drift": _by_prompt(_square(policy, old), shape)}
        if self.kl or reference is not None:
            drift = _square(policy, _needed(reference))
            rows = rows + self.kl * drift
            metrics["drift"] = _by_prompt(drift, shape)
        value = rows.view(shape).mean(dim=1)
        weight = torch.ones_like(value) if point.weight is None else point.weight.to(value)
        metrics["advantage_spread"] = advantage.view(shape).std(dim=1, correction=0)
        metrics["t"] = point.t.view(shape)[:, 0].to(value)
        metrics["loss"] = value.detach()
        return Loss((weight * value).mean(), metrics)

    def _predicted(self, net: Denoiser, noised: Noised) -> Latents:
        return widen(net(noised.x_t, noised.t, noised.cond))


def _square(a: Latents, b: Latents) -> PerRow:
    return (a - b).flatten(1).square().mean(dim=1)


def _distance(prediction: Latents, noise: Latents) -> PerRow:
    """Return d, whose gradient is that of the squares alone."""
    error = (prediction - noise).flatten(1)
    return error.square().mean(dim=1) / error.detach().abs().mean(dim=1).clamp(min=LEAST)


def _by_prompt(rows: PerRow, shape: torch.Size) -> PerPrompt:
    return rows.detach().view(shape).mean(dim=1)


def _needed(reference: Measure | None) -> Measure:
    if reference is None:
        raise ConfigError(
            "kl is the distance to a reference",
            where="method.kl",
            hint="set method.kl: 0, or reference.kind: adapters_off (LoRA) or frozen",
        )
    return reference


def nft(
    kit: Toolkit,
    *,
    beta: float = 1.0,
    clip: float = 5.0,
    kl: float = 0.1,
    shared_noise: bool = False,
) -> NegativeAware:
    """Return DiffusionNFT.

    Args:
        kit: the run's toolkit.
        beta: how far the mixtures go from the old policy to the new one.
        clip: A_max, the advantage that counts as certain.
        kl: weight of the mean squared distance to the reference's prediction.
        shared_noise: give a prompt's images one noise.

    Returns:
        The objective.

    Raises:
        ValueError: a setting is out of its range.
    """
    return NegativeAware(
        schedule=kit.schedule, beta=beta, clip=clip, kl=kl, shared_noise=shared_noise
    )


METHOD = Method(
    build=nft,
    paper=Paper(
        title="DiffusionNFT: Online Diffusion Reinforcement with Forward Process",
        authors=(
            "Zheng, Kaiwen",
            "Chen, Huayu",
            "Ye, Haotian",
            "Wang, Haoxiang",
            "Zhang, Qinsheng",
            "Jiang, Kai",
            "Su, Hang",
            "Ermon, Stefano",
            "Zhu, Jun",
            "Liu, Ming-Yu",
        ),
        year=2025,
        arxiv="2509.16117",
        subject="cs.LG",
    ),
    summary="denoise better images more and worse ones less than the old policy did",
    status="equation",
    reference="needed",
    data="lists",
)
