"""The stock pipeline, run from given noise to clean latents."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from diffpref.models.bundle import Bundle
from diffpref.models.pipeline import StockPipeline
from diffpref.models.quiet import quiet
from diffpref.models.sample_settings import (
    SAMPLERS,
    SampleSettings,
    guidance_of,
)
from diffpref.models.unet import make_denoiser
from diffpref.types import Latents


def denoise(
    bundle: Bundle,
    pipe: StockPipeline,
    prompts: Sequence[str],
    noise: Latents,
    *,
    settings: SampleSettings,
    tell: Callable[[int], None],
    told: AbstractContextManager[None],
) -> Latents:
    """Run the stock pipeline from given noise to clean latents."""
    height, width = noise.shape[2] * bundle.vae_factor, noise.shape[3] * bundle.vae_factor
    denoiser = make_denoiser(bundle.unet, bundle)

    def after(pipe: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
        del pipe, t
        tell(step + 1)
        return values

    autocast = torch.autocast(bundle.device.type, bundle.dtype, enabled=denoiser.autocast)
    with _stock(), autocast, torch.no_grad(), told:
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
