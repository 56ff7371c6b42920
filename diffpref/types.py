"""The vocabulary every floor shares: axis legend, conditioning, protocols, batches, points.

Axes:
    b prompts, k images per prompt, n = b * k rows in prompt-major order (row i is image i % k
    of prompt i // k), c h w latent channels and sides, l d text tokens and width, p pooled
    width, m u user tokens and width, y x pixel sides.

Units:
    latents are multiplied by the VAE scaling factor; t is an integer 0..T-1 with larger meaning
    noisier and -1 meaning clean; images are float NCHW in [0, 1].
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.draws import Draws

Latents = Float[Tensor, "n c h w"]
Steps = Int[Tensor, " n"]
PerRow = Float[Tensor, " n"]
PerImage = Float[Tensor, "b k"]
PerPrompt = Float[Tensor, " b"]
Measure = Float[Tensor, "n *feature"]
Positions = Int[Tensor, " b"]


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What a denoiser is told besides x_t and t; one entry per row.

    `user` holds m vectors per row, one in everything of this package; the network's user adapter
    makes tokens of them. `gate` is how strongly each row's user is heard, None is 1; a row with 0
    has no user and is the base's.
    """

    text: Float[Tensor, "n l d"]
    pooled: Float[Tensor, "n p"] | None = None
    time_ids: Float[Tensor, "n 6"] | None = None
    user: Float[Tensor, "n m u"] | None = None
    gate: Float[Tensor, " n"] | None = None

    def __len__(self) -> int:
        return self.text.shape[0]

    def map(self, change: Callable[[Tensor], Tensor]) -> "Conditioning":
        """Apply `change` to every tensor that is present."""
        return Conditioning(
            text=change(self.text),
            pooled=None if self.pooled is None else change(self.pooled),
            time_ids=None if self.time_ids is None else change(self.time_ids),
            user=None if self.user is None else change(self.user),
            gate=None if self.gate is None else change(self.gate),
        )

    def repeat_rows(self, k: int) -> "Conditioning":
        """Repeat each entry k times in place, so b prompts become n = b * k rows."""
        return self.map(lambda tensor: tensor.repeat_interleave(k, dim=0))

    def rows(self, index: slice) -> "Conditioning":
        return self.map(lambda tensor: tensor[index])

    def nobodys(self) -> "Conditioning":
        """Return the same without users."""
        return replace(self, user=None, gate=None)


@runtime_checkable
class Denoiser(Protocol):
    """Predicts epsilon, whatever the network's own parametrisation."""

    def __call__(self, x_t: Latents, t: Steps, cond: Conditioning, /) -> Latents: ...


@runtime_checkable
class Embedder(Protocol):
    """Noise-conditioned features: a frozen UNet's down stack."""

    def __call__(
        self, x_t: Latents, t: Steps, cond: Conditioning, /
    ) -> Float[Tensor, "n d y x"]: ...


MakeEmbedder = Callable[[str], Embedder]
"""Layer -> its embedder."""


@runtime_checkable
class Reward(Protocol):
    """A score of latents or pixels that an objective may consume; higher is better.

    `space` is "latent" or "pixel"; `noisy` says whether x may be at step t (else t is None).
    """

    @property
    def space(self) -> str: ...

    @property
    def noisy(self) -> bool: ...

    @property
    def differentiable(self) -> bool: ...

    def __call__(self, x: Tensor, t: Steps | None, prompts: tuple[str, ...], /) -> PerRow: ...


@runtime_checkable
class Scorer(Protocol):
    """Scores images in [0, 1] against their prompts; higher is better."""

    def __call__(self, images: Float[Tensor, "n 3 y x"], prompts: tuple[str, ...], /) -> PerRow: ...


class Nets(NamedTuple):
    """The networks a step may call. `reference` is None for reference-free methods."""

    policy: Denoiser
    reference: Denoiser | None
    old: Denoiser | None = None


@dataclass(frozen=True, kw_only=True)
class PreferenceBatch:
    """k encoded images per prompt and how much each was liked (votes 1/0 or raw scores).

    `cond` has one entry per prompt; `positions` are the prompts' global sample positions, the
    key of every random draw. `time_ids` (SDXL) tells each image's own size and crop. `uncond` is
    the empty prompt's conditioning, one entry per prompt, for trajectories that use guidance.
    """

    latents: Float[Tensor, "b k c h w"]
    cond: Conditioning
    score: PerImage
    positions: Positions
    prompts: tuple[str, ...] = ()
    weight: PerPrompt | None = None
    time_ids: Float[Tensor, "b k 6"] | None = None
    uncond: Conditioning | None = None

    def __len__(self) -> int:
        return self.latents.shape[0]

    def row_cond(self) -> Conditioning:
        """Return one entry per row: the prompt's, with each image's own time ids."""
        return self._rows(self.cond)

    def row_uncond(self) -> Conditioning | None:
        """Return the empty prompt's conditioning per row, with each image's own time ids."""
        return None if self.uncond is None else self._rows(self.uncond)

    def _rows(self, cond: Conditioning) -> Conditioning:
        rows = cond.repeat_rows(self.latents.shape[1])
        if self.time_ids is None:
            return rows
        return replace(rows, time_ids=self.time_ids.flatten(0, 1))


@dataclass(frozen=True, kw_only=True)
class PromptBatch:
    """Prompts whose images are the policy's own."""

    prompts: tuple[str, ...]
    cond: Conditioning
    noise: Float[Tensor, "b c h w"]
    positions: Positions
    uncond: Conditioning | None = None

    def __len__(self) -> int:
        return len(self.prompts)


_Self = TypeVar("_Self", bound="Point")


@runtime_checkable
class Point(Protocol):
    """Where networks are evaluated; rows meet only in `compare`.

    rows: slices what `measure` reads; what `compare` reads stays whole.
    gathered: collects what `compare` reads (score, weight, t) from every process; what `measure`
        reads is left without values, so that reading it fails.
    """

    @property
    def score(self) -> PerImage: ...

    @property
    def t(self) -> Steps: ...

    @property
    def weight(self) -> PerPrompt | None: ...

    def __len__(self) -> int: ...

    def rows(self: _Self, index: slice, /) -> _Self: ...

    def gathered(self: _Self, gather: Callable[[Tensor], Tensor], /) -> _Self: ...


@dataclass(frozen=True, kw_only=True)
class Noised:
    """x_t and the noise that explains it.

    `step_noise` is the noise of one sampler step down from t, for likelihoods that take one.
    """

    x_t: Latents
    t: Steps
    noise: Latents
    cond: Conditioning
    score: PerImage
    weight: PerPrompt | None = None
    step_noise: Latents | None = None

    def __len__(self) -> int:
        return self.x_t.shape[0]

    def rows(self, index: slice, /) -> "Noised":
        """Slice the rows; `score` and `weight` stay whole, they are read only by `compare`."""
        return replace(
            self,
            x_t=self.x_t[index],
            t=self.t[index],
            noise=self.noise[index],
            cond=self.cond.rows(index),
            step_noise=None if self.step_noise is None else self.step_noise[index],
        )

    def gathered(self, gather: Callable[[Tensor], Tensor], /) -> "Noised":
        """Collect score, weight and t from every process; the rest is on the meta device."""
        t = gather(self.t)

        def emptied(tensor: Tensor) -> Tensor:
            return torch.empty((len(t), *tensor.shape[1:]), dtype=tensor.dtype, device="meta")

        return Noised(
            x_t=emptied(self.x_t),
            t=t,
            noise=emptied(self.noise),
            cond=self.cond.map(emptied),
            score=gather(self.score),
            weight=None if self.weight is None else gather(self.weight),
            step_noise=None if self.step_noise is None else emptied(self.step_noise),
        )


class Loss(NamedTuple):
    """The scalar to differentiate and per-prompt numbers worth logging."""

    value: Float[Tensor, ""]
    metrics: dict[str, PerPrompt]


B = TypeVar("B")
P = TypeVar("P")
B_contra = TypeVar("B_contra", contravariant=True)


@runtime_checkable
class Objective(Protocol[B_contra, P]):
    """A method: draw points, measure them, compare the measurements.

    draw: runs without gradient; the only place that uses randomness or calls networks for data.
    measure: depends on one row at a time and is deterministic; at least float32.
    compare: may couple rows; touches no network. `couples_batch` says that it couples prompts,
        so that the loop gathers the measurements of every process first.
    """

    @property
    def couples_batch(self) -> bool: ...

    def draw(self, nets: Nets, batch: B_contra, draws: Draws, /) -> P: ...

    def measure(self, net: Denoiser, point: P, /) -> Measure: ...

    def compare(self, policy: Measure, reference: Measure | None, point: P, /) -> Loss: ...


@runtime_checkable
class Adaptive(Protocol):
    """An objective that learns from its steps: checkpoints keep `state`, changed in place."""

    @property
    def state(self) -> Mapping[str, Tensor]: ...

    def learn(self, metrics: Mapping[str, PerPrompt], /) -> None: ...


Trajectory = Callable[[Nets, B, Steps, Draws], P]
"""Where x_t comes from: (nets, batch, t per prompt, draws) -> point."""

Labeller = Callable[[PerImage], PerImage]
"""Scores -> labels; labels of one prompt sum to one."""

Unit = Literal["images", "pairs", "lists", "unpaired", "steps", "walks", "prompts"]
"""What a loss learns from: images that were liked, pairs, ranked lists, or single images that
were each liked or disliked; and what only the policy's own samples give: pairs of candidates of one
state, whole walks from noise to image, or nothing but prompts."""


@runtime_checkable
class PreferenceLoss(Protocol):
    """(policy loglik, reference loglik, label) -> loss per prompt.

    A loss that couples prompts has also `couples_batch = True`; one that compares residuals
    instead of log-likelihoods is a `ResidualLoss`.
    """

    unit: ClassVar[Unit]

    def __call__(
        self, policy: PerImage, reference: PerImage | None, label: PerImage, /
    ) -> PerPrompt: ...


@runtime_checkable
class ResidualLoss(Protocol):
    """(policy residual, reference residual, label) -> loss per prompt.

    Residuals are prediction minus target, with one row per image.
    """

    unit: ClassVar[Unit]

    def on_residuals(
        self,
        policy: Float[Tensor, "b k *feature"],
        reference: Float[Tensor, "b k *feature"] | None,
        label: PerImage,
        /,
    ) -> PerPrompt: ...


class Emphasis(NamedTuple):
    """Factors on each prompt's logit and on its loss."""

    logit: PerPrompt
    loss: PerPrompt


@runtime_checkable
class Emphasiser(Protocol):
    """(logit, t per prompt) -> factors; never differentiated.

    on_logit: whether it needs a loss that has a logit.
    couples_batch: whether one prompt's factor depends on the others.
    state: tensors that it learns; checkpoints keep them.
    learn: called after every applied step with the metrics of all processes.
    """

    @property
    def on_logit(self) -> bool: ...

    @property
    def couples_batch(self) -> bool: ...

    @property
    def state(self) -> Mapping[str, Tensor]: ...

    def __call__(self, logit: PerPrompt, t: Int[Tensor, " b"], /) -> Emphasis: ...

    def learn(self, metrics: Mapping[str, PerPrompt], /) -> None: ...


Offset = Callable[[PerImage], PerPrompt]
"""Scores -> how far the logit of each pair must pass zero; the head sees u - offset."""

TimestepSampler = Callable[[Draws, int], Int[Tensor, " b"]]
"""(draws, T) -> one step per prompt."""

Guard = Callable[[Measure, PerImage], PerRow]
"""(policy residuals, label) -> factor on each row's gradient; values do not change."""

Source = Callable[[Nets, int], Iterable[B]]
"""(nets, first step) -> one window of rows per optimizer step, for ever."""

AnyObjective = Objective[Any, Any]


def cast(cond: Conditioning, device: torch.device, dtype: torch.dtype) -> Conditioning:
    """Move a conditioning to a device and dtype."""
    return cond.map(lambda tensor: tensor.to(device=device, dtype=dtype))
