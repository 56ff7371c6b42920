"""What online methods learn from: sampled steps of the policy, as windows and points in one.

    x_s = mu + sigma z,    mu = signal x_t + b eps       (`NoiseSchedule.transition`), s < t

A step is made by a `StepPlan`. Rows meet only in `compare`, so these records are their own points.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffpref.numerics import widen
from diffpref.types import Conditioning, Denoiser, Latents, PerImage, PerPrompt, Positions, Steps


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """How the policy samples: the levels (t, s) it visits from noisy to clean, eta and guidance.

    eta: stochasticity of a step, 0 to 1; guidance: classifier-free guidance scale, 1 is none.
    """

    levels: tuple[tuple[int, int], ...]
    eta: float = 1.0
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if not self.levels or any(s >= t for t, s in self.levels):
            raise ValueError(f"levels must be steps down, got {list(self.levels)}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be 0 to 1, got {self.eta}")


@dataclass(frozen=True, kw_only=True)
class State:
    """Where the policy was asked: x_t, the step t, the next level s, and what it was told.

    `uncond` is the empty prompt's conditioning, present when the plan has guidance.
    """

    x_t: Latents
    t: Steps
    s: Steps
    cond: Conditioning
    uncond: Conditioning | None = None

    def __len__(self) -> int:
        return len(self.x_t)

    def rows(self, index: slice) -> "State":
        return State(
            x_t=self.x_t[index],
            t=self.t[index],
            s=self.s[index],
            cond=self.cond.rows(index),
            uncond=None if self.uncond is None else self.uncond.rows(index),
        )

    def gathered(self, gather: Callable[[Tensor], Tensor]) -> "State":
        """Collect t and s; the rest is without values, on the meta device."""
        t = gather(self.t)
        return State(
            x_t=_emptied(self.x_t, len(t)),
            t=t,
            s=gather(self.s),
            cond=self.cond.map(lambda tensor: _emptied(tensor, len(t))),
            uncond=None,
        )


@dataclass(frozen=True, kw_only=True)
class StepPairs:
    """Two candidates drawn from one state each, the preferred one minus the other.

    Attributes:
        state: one row per pair.
        dz: z^w - z^l, where x_s = mu + sigma z for each candidate.
        mid: (x_s^w + x_s^l) / 2, kept only for methods that clamp each candidate's ratio.
        gap: by how much the preferred one's reward is higher, [b 1].
        plan: how they were sampled.
        positions: the keys of the prompts' draws.
        weight: factor on each pair's loss.
    """

    state: State
    dz: Latents
    gap: PerImage
    plan: StepPlan
    positions: Positions
    mid: Latents | None = None
    weight: PerPrompt | None = None

    @property
    def score(self) -> PerImage:
        return self.gap

    @property
    def t(self) -> Steps:
        return self.state.t

    def __len__(self) -> int:
        return len(self.state)

    def rows(self, index: slice, /) -> "StepPairs":
        """Slice what `measure` reads; `compare` reads the rest whole."""
        return replace(self, state=self.state.rows(index))

    def gathered(self, gather: Callable[[Tensor], Tensor], /) -> "StepPairs":
        return replace(
            self,
            state=self.state.gathered(gather),
            dz=gather(self.dz),
            mid=None if self.mid is None else gather(self.mid),
            gap=gather(self.gap),
            weight=None if self.weight is None else gather(self.weight),
            positions=gather(self.positions),
        )


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """Sampled steps x_t -> x_s, k per prompt, and how good what they led to was.

    Attributes:
        state: n = b k rows, prompt-major.
        x_s: what was sampled.
        mean: mu of the network that sampled it, for ratios to the sampling policy.
        score: [b k]: 1 / 0 for two steps of a better and a worse image, or an advantage.
        plan, positions, weight: as in `StepPairs`.
    """

    state: State
    x_s: Latents
    mean: Latents
    score: PerImage
    plan: StepPlan
    positions: Positions
    weight: PerPrompt | None = None

    @property
    def t(self) -> Steps:
        return self.state.t

    def __len__(self) -> int:
        return len(self.state)

    def rows(self, index: slice, /) -> "Transitions":
        """Slice what `measure` reads; `compare` reads the rest whole."""
        return replace(self, state=self.state.rows(index))

    def gathered(self, gather: Callable[[Tensor], Tensor], /) -> "Transitions":
        return replace(
            self,
            state=self.state.gathered(gather),
            x_s=gather(self.x_s),
            mean=gather(self.mean),
            score=gather(self.score),
            weight=None if self.weight is None else gather(self.weight),
            positions=gather(self.positions),
        )


def predict(net: Denoiser, state: State, guidance: float) -> Latents:
    r"""Return the guided prediction, at least float32.

    Equation:
        \epsilon = \epsilon_\emptyset + g (\epsilon_c - \epsilon_\emptyset)   (2207.12598, eq. 6)

    Both halves run in one call of twice the rows. With guidance the state must have `uncond`.
    """
    if guidance == 1:
        return widen(net(state.x_t, state.t, state.cond))
    if state.uncond is None:
        raise ValueError("guidance needs the empty prompt's conditioning")
    both = _joined(state.uncond, state.cond)
    free, told = widen(net(torch.cat([state.x_t] * 2), torch.cat([state.t] * 2), both)).chunk(2)
    return free + guidance * (told - free)


def _joined(first: Conditioning, second: Conditioning) -> Conditioning:
    def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return None if a is None or b is None else torch.cat([a.to(b), b])

    return Conditioning(
        text=torch.cat([first.text.to(second.text), second.text]),
        pooled=both(first.pooled, second.pooled),
        time_ids=both(
            first.time_ids if first.time_ids is not None else second.time_ids, second.time_ids
        ),
        user=both(first.user if first.user is not None else second.user, second.user),
    )


def _emptied(tensor: Tensor, rows: int) -> Tensor:
    return torch.empty((rows, *tensor.shape[1:]), dtype=tensor.dtype, device="meta")
