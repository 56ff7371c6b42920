"""Images from a model: the stock pipeline on noise that is a function of (seed, position)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.errors import UsageError
from diffpref.models.bundle import Bundle
from diffpref.models.cascade import sample as cascade
from diffpref.models.denoise import denoise
from diffpref.models.pipeline import StockPipeline, assemble
from diffpref.models.sample_settings import (
    SampleSettings,
    check_settings,
    guidance_of,
    image_size,
    images_at_once,
)
from diffpref.models.user_adapter import user_adapter_of
from diffpref.models.vae import Images
from diffpref.types import Latents

STREAM = "sample"
Users = Float[Tensor, "n u"]
Progress = Callable[[int, int | None], None]
"""(images done, images in all); an image half denoised counts one half."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Images made together: what of, where from, and who is told."""

    prompts: Sequence[str]
    noise: Latents
    places: Sequence[cascade.Place]
    tell: Callable[[int], None]
    told: AbstractContextManager[None]


def sample(
    bundle: Bundle,
    prompts: Sequence[str],
    *,
    seed: int | Sequence[int] = 0,
    positions: Sequence[int] | None = None,
    settings: SampleSettings | None = None,
    users: Users | None = None,
    strength: float = 1.0,
    on_progress: Progress | None = None,
) -> Images:
    """Make one image per prompt.

    The starting noise depends only on (seed, position), so two models asked for the same prompts
    start from the same noise, and the batch changes nothing but rounding.

    Args:
        bundle: the model, its adapters included.
        prompts: what to show.
        seed: of all images, or one per image.
        positions: the prompts' numbers in the whole set; 0, 1, 2 ... when absent.
        settings: how.
        users: whom each image is for, a vector each, of a model with a user adapter; both
            branches of guidance are told.
        strength: of the users: 1 as trained; 0 is the same model without users, bit for bit.
        on_progress: told after every denoising step.

    Returns:
        Images in [0, 1], float32 on the CPU.

    Raises:
        UsageError: an unknown sampler, a number of steps or a size that cannot be, or users of a
            model that knows none.
    """
    settings = settings or SampleSettings()
    seeds = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
    places = list(range(len(prompts))) if positions is None else list(positions)
    if not len(prompts) == len(seeds) == len(places):
        raise ValueError(f"{len(prompts)} prompts, {len(seeds)} seeds, {len(places)} positions")
    if users is not None and len(users) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts and {len(users)} users")
    height, width = image_size(bundle, settings)
    check_settings(bundle, settings)
    make = _maker(bundle, settings)
    shape = _noise_shape(bundle, height, width)
    size = images_at_once(settings, height, width)
    images = [torch.zeros(0, 3, height, width)]
    for start in range(0, len(prompts), size):
        part = slice(start, start + size)
        noise = starting_noise(seeds[part], torch.tensor(places[part]), shape)
        tell = _teller(on_progress, start, len(noise), len(prompts), settings.steps)
        told = _for_users(bundle, settings, None if users is None else users[part], strength)
        where = list(zip(seeds[part], places[part], strict=True))
        images.append(
            make(Part(prompts=prompts[part], noise=noise, places=where, tell=tell, told=told))
        )
    return torch.cat(images)


def _noise_shape(bundle: Bundle, height: int, width: int) -> tuple[int, int, int]:
    """Return [c h w] of the noise a picture of this size starts from."""
    if bundle.family.made is None:
        return bundle.latent_shape(height, width)
    cascade.required(bundle)  # refused before anything is made
    channels = int(bundle.unet.config["in_channels"])
    return channels, cascade.latent_side(height), cascade.latent_side(width)


def _maker(bundle: Bundle, settings: SampleSettings) -> Callable[[Part], Images]:
    """Return what makes images of noise."""
    if bundle.family.made is not None:
        return partial(_by_cascade, bundle, settings)
    return partial(_by_pipeline, bundle, assemble(bundle, bundle.sd_vae), settings)


def _by_pipeline(
    bundle: Bundle, pipe: StockPipeline, settings: SampleSettings, part: Part
) -> Images:
    latents = denoise(
        bundle, pipe, part.prompts, part.noise, settings=settings, tell=part.tell, told=part.told
    )
    with torch.no_grad():
        return bundle.decode(latents).float().cpu()


def _by_cascade(bundle: Bundle, settings: SampleSettings, part: Part) -> Images:
    latents = cascade.denoise(
        bundle,
        part.prompts,
        part.noise,
        places=part.places,
        guidance=guidance_of(bundle, settings),
        steps=settings.steps,
        negative=settings.negative,
        tell=part.tell,
        told=part.told,
    )
    return cascade.pictures(bundle, latents, part.prompts, part.places)


def _for_users(
    bundle: Bundle, settings: SampleSettings, users: Users | None, strength: float
) -> AbstractContextManager[None]:
    """Return what tells the adapter whom images are for, as the stock pipeline lays out rows."""
    if users is None:
        return nullcontext()
    adapter = user_adapter_of(bundle.unet)
    if adapter is None:
        hint = "choose a run with adapter.kind: user, or leave the profile out"
        raise UsageError("the model knows no users", where="profile", hint=hint)
    branches = 2 if guidance_of(bundle, settings) > 1 else 1
    rows = users.to(bundle.device, bundle.dtype).repeat(branches, 1)
    return adapter.told(rows[:, None], torch.full((len(rows),), strength))


def starting_noise(
    seeds: Sequence[int], positions: Int[Tensor, " n"], shape: tuple[int, int, int]
) -> Float[Tensor, "n c h w"]:
    """Return the unit noise each image starts from."""
    rows = [
        Draws(seed, positions[row : row + 1]).normal(STREAM, shape)
        for row, seed in enumerate(seeds)
    ]
    return torch.cat(rows)


def _teller(
    on_progress: Progress | None, before: int, size: int, total: int, steps: int
) -> Callable[[int], None]:
    def tell(step: int) -> None:
        if on_progress is not None:
            on_progress(before + size * min(step, steps) // steps, total)

    return tell
