"""Pictures of Stable Cascade by its stock pipelines, on noise that is a function of its place."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from diffusers.pipelines.stable_cascade.pipeline_stable_cascade import StableCascadeDecoderPipeline
from diffusers.pipelines.stable_cascade.pipeline_stable_cascade_prior import (
    StableCascadePriorPipeline,
)
from jaxtyping import Float
from torch import Tensor

from diffpref.draws import generator
from diffpref.errors import ConfigError
from diffpref.models.cascade.stage_b import FOLDER, SIDE, STEPS, StageB
from diffpref.models.quiet import quiet
from diffpref.types import Latents

if TYPE_CHECKING:
    from diffpref.models.bundle import Bundle

STEP = 128
"""What both sides of a picture must be a multiple of: 3 latents of stage C, 32 of stage B."""

LATENTS = 3
"""Of stage C, per STEP pixels."""

Place = tuple[int, int]
"""(seed, position) of a picture."""


def latent_side(pixels: int) -> int:
    """Return stage C's latents along a side of a picture."""
    return LATENTS * pixels // STEP


def denoise(
    bundle: "Bundle",
    prompts: Sequence[str],
    noise: Latents,
    *,
    places: Sequence[Place],
    guidance: float,
    steps: int,
    negative: str,
    tell: Callable[[int], None],
    told: AbstractContextManager[None],
) -> Latents:
    """Run stage C's stock pipeline, ancestral as published, from given noise to clean latents.

    Args:
        bundle: the model.
        prompts: what to show.
        noise: unit noise to start from.
        places: of the pictures, which key the noise of the steps.
        guidance: scale; 1 is none.
        steps: of the sampler.
        negative: prompt to stay away from.
        tell: told the steps done.
        told: inside it the network knows whom pictures are for.

    Returns:
        Latents.
    """
    text = bundle.text
    parts: dict[str, Any] = {
        "tokenizer": text.tokenizers[0],
        "text_encoder": text.encoders[0],
        "prior": bundle.unet,
        "scheduler": type(bundle.scheduler).from_config(bundle.scheduler.config),
    }

    def after(pipe: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
        del pipe, t
        tell(step + 1)
        return values

    rngs = [generator(seed, position, "cascade/c") for seed, position in places]
    with _stock(), torch.no_grad(), told:
        pipe = StableCascadePriorPipeline(**parts)
        pipe.set_progress_bar_config(disable=True)
        mixed = torch.autocast(bundle.device.type, bundle.dtype, enabled=_mixed(bundle))
        with mixed:
            output: Any = pipe(
                prompt=list(prompts),
                negative_prompt=[negative] * len(prompts) if negative else None,
                height=STEP * noise.shape[2] // LATENTS,
                width=STEP * noise.shape[3] // LATENTS,
                latents=noise.to(bundle.device, bundle.dtype),
                guidance_scale=guidance,
                num_inference_steps=steps,
                generator=rngs,
                output_type="pt",
                callback_on_step_end=after,  # pyright: ignore[reportArgumentType]  (wrong there)
            )
    return output.image_embeddings


def pictures(
    bundle: "Bundle", latents: Latents, prompts: Sequence[str], places: Sequence[Place]
) -> Float[Tensor, "n 3 y x"]:
    """Return what stage B makes of latents: images in [0, 1], float32 on the CPU.

    Raises:
        ConfigError: there is no stage B.
    """
    stage_b = required(bundle)
    side = tuple(int(each * stage_b.scale) for each in latents.shape[2:])
    shape = (1, int(stage_b.decoder.config["in_channels"]), *side)
    rngs = [generator(seed, position, "cascade/b") for seed, position in places]
    noise = torch.cat([torch.randn(shape, generator=rng) for rng in rngs])
    parts: dict[str, Any] = {
        "tokenizer": bundle.text.tokenizers[0],
        "text_encoder": bundle.text.encoders[0],
        "decoder": stage_b.decoder,
        "vqgan": stage_b.vqgan,
        "scheduler": type(stage_b.scheduler).from_config(stage_b.scheduler.config),
    }
    with _stock(), torch.no_grad():
        pipe = StableCascadeDecoderPipeline(**parts, latent_dim_scale=stage_b.scale)
        pipe.set_progress_bar_config(disable=True)
        output: Any = pipe(
            latents.to(bundle.device, bundle.dtype),
            prompt=list(prompts),
            latents=noise.to(bundle.device, bundle.dtype),
            guidance_scale=0.0,
            num_inference_steps=STEPS,
            generator=rngs,
            output_type="pt",
        )
    return output.images.float().cpu().clamp(0, 1)


def made_side(stage_b: StageB, latents: int) -> int:
    """Return the pixels that so many latents of stage C become along a side."""
    return SIDE * int(latents * stage_b.scale)


def required(bundle: "Bundle") -> StageB:
    """Return stage B.

    Raises:
        ConfigError: there is none.
    """
    if bundle.stage_b is None:
        what = "stage C alone makes no pictures"
        hint = f"put a folder of StableCascadeDecoderPipeline beside its parts, named {FOLDER}/"
        raise ConfigError(what, where="model.base", hint=hint)
    return bundle.stage_b


def _mixed(bundle: "Bundle") -> bool:
    """Say whether some parameters of stage C are wider than what it computes in."""
    half = bundle.dtype in (torch.float16, torch.bfloat16)
    return half and {each.dtype for each in bundle.unet.parameters()} != {bundle.dtype}


@contextmanager
def _stock() -> Iterator[None]:
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # these pipelines are no longer developed
        yield
