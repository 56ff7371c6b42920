"""Images from a model: the stock pipeline on noise that is a function of (seed, position)."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpref.draws import Draws
from diffpref.models.bundle import Bundle
from diffpref.models.pipeline import StockPipeline, assemble
from diffpref.models.quiet import quiet
from diffpref.models.sample_settings import (
    SAMPLERS,
    SampleSettings,
    check_settings,
    guidance_of,
    image_size,
    images_at_once,
)
from diffpref.models.unet import make_denoiser
from diffpref.models.vae import Images
from diffpref.types import Latents

STREAM = "sample"
Progress = Callable[[int, int | None], None]
"""(images done, images in all); an image half denoised counts one half."""


def sample(
    bundle: Bundle,
    prompts: Sequence[str],
    *,
    seed: int | Sequence[int] = 0,
    positions: Sequence[int] | None = None,
    settings: SampleSettings | None = None,
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
        on_progress: told after every denoising step.

    Returns:
        Images in [0, 1], float32 on the CPU.

    Raises:
        UsageError: an unknown sampler, or a number of steps or a size that cannot be.
    """
    settings = settings or SampleSettings()
    seeds = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
    places = list(range(len(prompts))) if positions is None else list(positions)
    if not len(prompts) == len(seeds) == len(places):
        raise ValueError(f"{len(prompts)} prompts, {len(seeds)} seeds, {len(places)} positions")
    height, width = image_size(bundle, settings)
    check_settings(bundle, settings)
    pipe = assemble(bundle, bundle.vae)
    shape = bundle.latent_shape(height, width)
    size = images_at_once(settings, height, width)
    images = [torch.zeros(0, 3, height, width)]
    for start in range(0, len(prompts), size):
        part = slice(start, start + size)
        noise = starting_noise(seeds[part], torch.tensor(places[part]), shape)
        tell = _teller(on_progress, start, len(noise), len(prompts), settings.steps)
        latents = _denoise(bundle, pipe, prompts[part], noise, settings=settings, tell=tell)
        with torch.no_grad():
            images.append(bundle.decode(latents).float().cpu())
    return torch.cat(images)


def starting_noise(
    seeds: Sequence[int], positions: Int[Tensor, " n"], shape: tuple[int, int, int]
) -> Float[Tensor, "n c h w"]:
    """Return the unit noise each image starts from."""
    rows = [
        Draws(seed, positions[row : row + 1]).normal(STREAM, shape)
        for row, seed in enumerate(seeds)
    ]
    return torch.cat(rows)


def _denoise(
    bundle: Bundle,
    pipe: StockPipeline,
    prompts: Sequence[str],
    noise: Latents,
    *,
    settings: SampleSettings,
    tell: Callable[[int], None],
) -> Latents:
    """Run the stock pipeline from given noise to clean latents."""
    height, width = noise.shape[2] * bundle.vae_factor, noise.shape[3] * bundle.vae_factor
    denoiser = make_denoiser(bundle.unet, bundle)

    def after(pipe: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
        del pipe, t
        tell(step + 1)
        return values

    with _stock(), torch.autocast(bundle.device.type, bundle.dtype, enabled=denoiser.autocast):
        # A scheduler keeps state between steps: every batch gets a new one.
        pipe.scheduler = SAMPLERS[settings.sampler].from_config(bundle.scheduler.config)
        output: Any = pipe(
            prompt=list(prompts),
            negative_prompt=[settings.negative] * len(prompts) if settings.negative else None,
            latents=noise.to(bundle.device, bundle.dtype),
            guidance_scale=guidance_of(bundle, settings),
            num_inference_steps=settings.steps,
            height=height,
            width=width,
            output_type="latent",
            callback_on_step_end=after,  # pyright: ignore[reportArgumentType]  (untyped there)
        )
    return output.images


@contextmanager
def _stock() -> Iterator[None]:
    with quiet(), warnings.catch_warnings():
        # Euler's stock scheduler turns tensors into arrays in a way numpy 2 warns about.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        yield


def _teller(
    on_progress: Progress | None, before: int, size: int, total: int, steps: int
) -> Callable[[int], None]:
    def tell(step: int) -> None:
        if on_progress is not None:
            on_progress(before + size * min(step, steps) // steps, total)

    return tell
