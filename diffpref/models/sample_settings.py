"""How images are made: sampler, steps, guidance, size; checked against the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler

from diffpref.errors import UsageError, nearest
from diffpref.models.bundle import Bundle
from diffpref.models.cascade.sample import STEP

SAMPLERS: Mapping[str, Any] = MappingProxyType(
    {
        "ddim": DDIMScheduler,
        "euler": EulerDiscreteScheduler,
        "dpm++": DPMSolverMultistepScheduler,
    }
)
"""Sampler -> stock scheduler, made from the base's own scheduler config. All are deterministic."""

MOST = 64
PIXELS_AT_ONCE = 2**20
"""A batch holds at most MOST images, and as many as together have about this many pixels."""


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """How images are made. None is the model's own: guidance, size, and the batch that fits."""

    guidance: float | None = None
    steps: int = 50
    sampler: str = "ddim"
    negative: str = ""
    height: int | None = None
    width: int | None = None
    batch: int | None = None


def images_at_once(settings: SampleSettings, height: int, width: int) -> int:
    """Return how many images of this size are made together."""
    return settings.batch or max(1, min(MOST, PIXELS_AT_ONCE // (height * width)))


def guidance_of(bundle: Bundle, settings: SampleSettings) -> float:
    """Return the guidance scale in force; 1 means none."""
    return bundle.family.guidance if settings.guidance is None else settings.guidance


def image_size(bundle: Bundle, settings: SampleSettings) -> tuple[int, int]:
    """Return height and width in pixels.

    Raises:
        UsageError: a side is not a positive multiple of 8 (the stock pipelines' step; 128 of
            Stable Cascade).
    """
    usual, cascade = bundle.family.made or bundle.resolution, bundle.family.made is not None
    sides = (settings.height or usual, settings.width or usual)
    step = STEP if cascade else max(8, bundle.vae_factor)
    for side, name in zip(sides, ("height", "width"), strict=True):
        if side < step or side % step:
            near = max(step, round(side / step) * step)
            hint = f"the nearest multiple of {step} is {near}"
            raise UsageError(f"images cannot be {side} pixels {name}", where=name, hint=hint)
    return sides


def check_settings(bundle: Bundle, settings: SampleSettings) -> None:
    """Refuse a sampler or a number of steps that cannot be.

    Raises:
        UsageError: names the option.
    """
    if settings.sampler not in SAMPLERS:
        what, hint = f"'{settings.sampler}' is not a sampler", nearest(settings.sampler, SAMPLERS)
        raise UsageError(what, where="sampler", hint=hint)
    if bundle.family.made is not None and settings.sampler != "ddim":
        hint = "leave --sampler out: Stable Cascade is sampled by its own stock pipelines"
        raise UsageError(f"{settings.sampler} is not for this model", where="sampler", hint=hint)
    most = len(bundle.schedule)
    if not 1 <= settings.steps <= most:
        hint = f"choose 1 to {most}; 20 to 50 are usual"
        raise UsageError(f"{settings.steps} steps are not possible", where="steps", hint=hint)
