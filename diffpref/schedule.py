"""The noise schedule: a pure map from step t to signal power, and the moves it allows."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffpref.numerics import widen
from diffpref.types import Latents, Steps


class StepCoefficients(NamedTuple):
    """One sampler step x_s = signal * x_t + noise * eps + std * z, in float64."""

    signal: Float[Tensor, " n"]
    noise: Float[Tensor, " n"]
    std: Float[Tensor, " n"]


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Signal power abar_t for t = 0..T-1; t = -1 is the clean level with abar = 1.

    Attributes:
        abar: signal power per step, strictly decreasing in [0, 1]; kept in float64 on the CPU.

    Units:
        t is an integer index. Arithmetic runs in the input's precision, at least float32, with
        coefficients rounded once from float64; results have the input's dtype.
    """

    abar: Float[Tensor, " T"]
    _tables: dict[torch.device, Tensor] = field(
        default_factory=dict[torch.device, Tensor], init=False, repr=False
    )

    def __post_init__(self) -> None:
        abar = self.abar.detach().to(device="cpu", dtype=torch.float64)
        if len(abar) == 0 or bool((abar.diff() >= 0).any()) or not 0 <= abar[-1] <= abar[0] <= 1:
            raise ValueError("abar must fall strictly from at most 1 to at least 0")
        object.__setattr__(self, "abar", abar)

    def __len__(self) -> int:
        return len(self.abar)

    def at(self, t: Steps) -> Float[Tensor, " n"]:
        """Return abar at t on t's device, in float64 (float32 where the device has no float64)."""
        if t.device not in self._tables:
            dtype = torch.float32 if t.device.type == "mps" else torch.float64
            # The clean level is appended last, so that t = -1 indexes it.
            table = torch.cat([self.abar, torch.ones(1, dtype=torch.float64)])
            self._tables[t.device] = table.to(dtype).to(t.device)
        return self._tables[t.device][t]

    def snr(self, t: Steps) -> Float[Tensor, " n"]:
        """Return the signal-to-noise ratio abar / (1 - abar), in float64."""
        abar = self.at(t)
        return abar / (1 - abar)

    def noised(self, x_0: Latents, noise: Latents, t: Steps) -> Latents:
        r"""Return x_t = \sqrt{\bar a_t} x_0 + \sqrt{1 - \bar a_t} \epsilon."""
        signal, scale = self._levels(t, x_0)
        return (signal * widen(x_0) + scale * widen(noise)).to(x_0.dtype)

    def clean(self, x_t: Latents, eps: Latents, t: Steps) -> Latents:
        r"""Return \hat x_0 = (x_t - \sqrt{1 - \bar a_t} \epsilon) / \sqrt{\bar a_t}."""
        signal, scale = self._levels(t, x_t)
        return ((widen(x_t) - scale * widen(eps)) / signal).to(x_t.dtype)

    def noise_between(self, x_0: Latents, x_t: Latents, t: Steps) -> Latents:
        """Return the implied noise: the epsilon that takes x_0 to x_t. Undefined at t = -1."""
        signal, scale = self._levels(t, x_t)
        return ((widen(x_t) - signal * widen(x_0)) / scale).to(x_t.dtype)

    def ddim(self, x_t: Latents, eps: Latents, t: Steps, to: Steps) -> Latents:
        """Take a deterministic DDIM step from t to `to`; `to > t` is DDIM inversion.

        Either may be -1, the clean level (2010.02502, eq. 12 with sigma = 0).
        """
        signal, scale = self._levels(t, x_t)
        signal_to, scale_to = self._levels(to, x_t)
        x_0 = (widen(x_t) - scale * widen(eps)) / signal
        return (signal_to * x_0 + scale_to * widen(eps)).to(x_t.dtype)

    def transition(self, t: Steps, to: Steps, *, eta: float) -> StepCoefficients:
        r"""Return the coefficients of a stochastic DDIM step down from t to `to < t`.

        Equation:
            \sigma = \eta \sqrt{(1 - \bar a_s) / (1 - \bar a_t)} \sqrt{1 - \bar a_t / \bar a_s}
            x_s = \sqrt{\bar a_s} \hat x_0 + \sqrt{1 - \bar a_s - \sigma^2} \epsilon + \sigma z
            (2010.02502, eqs. 12 and 16; eta = 1 is ancestral sampling, eta = 0 is `ddim`)

        Args:
            t: level of x_t.
            to: level of x_s, below t; -1 is clean.
            eta: stochasticity, 0 to 1.

        Returns:
            Coefficients of x_t, epsilon and z per row.
        """
        now, then = self.at(t), self.at(to)
        std = eta * ((1 - then) / (1 - now)).sqrt() * (1 - now / then).sqrt()
        # Rounding may leave -1e-17 here when eta is 1 and `to` is the clean level.
        direction = (1 - then - std.square()).clamp(min=0).sqrt()
        signal = (then / now).sqrt()
        return StepCoefficients(signal, direction - signal * (1 - now).sqrt(), std)

    def velocity(self, x_0: Latents, noise: Latents, t: Steps) -> Latents:
        r"""Return v = \sqrt{\bar a_t} \epsilon - \sqrt{1 - \bar a_t} x_0 (2202.00512, app. D)."""
        signal, scale = self._levels(t, x_0)
        return (signal * widen(noise) - scale * widen(x_0)).to(x_0.dtype)

    def epsilon_from_velocity(self, v: Latents, x_t: Latents, t: Steps) -> Latents:
        r"""Return \epsilon = \sqrt{\bar a_t} v + \sqrt{1 - \bar a_t} x_t, in v's dtype."""
        signal, scale = self._levels(t, v)
        return (signal * widen(v) + scale * widen(x_t)).to(v.dtype)

    def velocity_from_epsilon(self, eps: Latents, x_t: Latents, t: Steps) -> Latents:
        """Return v from epsilon, the inverse of `epsilon_from_velocity`, in eps's dtype."""
        signal, scale = self._levels(t, eps)
        return ((widen(eps) - scale * widen(x_t)) / signal).to(eps.dtype)

    def _levels(self, t: Steps, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return sqrt(abar) and sqrt(1 - abar) in the working dtype, shaped to broadcast."""
        abar = self.at(t)
        shape = (-1,) + (1,) * (like.dim() - 1)
        dtype = torch.promote_types(like.dtype, torch.float32)
        return abar.sqrt().to(dtype).view(shape), (1 - abar).sqrt().to(dtype).view(shape)


def scaled_linear(
    *, start: float = 0.00085, end: float = 0.012, length: int = 1000
) -> NoiseSchedule:
    r"""Return the Stable Diffusion schedule: \sqrt{\beta_t} linear from start to end.

    Args:
        start: variance added by the first step.
        end: variance added by the last step.
        length: T, the number of steps.

    Returns:
        A schedule of `length` steps.
    """
    beta = torch.linspace(start**0.5, end**0.5, length, dtype=torch.float64).square()
    return NoiseSchedule((1 - beta).cumprod(0))
