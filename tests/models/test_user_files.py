"""A user adapter's file in plain diffusers: the images are ours."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffpref.errors import UsageError
from diffpref.models import (
    AdapterConfig,
    Bundle,
    make_adapter,
    save_user_adapter,
    to_pipeline,
    user_adapter_of,
)
from diffpref.models.sample import SampleSettings, sample, starting_noise
from diffpref.models.user_files import FILE
from tests.models.conftest import PROMPTS
from tests.models.test_user_adapter import WIDTH, trained

STEPS, SEED = 3, 5


@pytest.fixture
def personal(bundle: Bundle) -> Bundle:
    make_adapter(bundle, AdapterConfig(kind="user", width=WIDTH, seed=2))
    adapter = user_adapter_of(bundle.unet)
    assert adapter is not None
    trained(adapter)
    bundle.unet.requires_grad_(False)
    return bundle


def ours(bundle: Bundle, users: Tensor | None, strength: float, guidance: float) -> Tensor:
    settings = SampleSettings(guidance=guidance, steps=STEPS)
    return sample(bundle, PROMPTS[:2], seed=SEED, settings=settings, users=users, strength=strength)


def vector() -> Tensor:
    return torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("guidance", [1.0, 6.0])
@pytest.mark.parametrize("strength", [0.0, 0.6, 1.0])
def test_stock_diffusers_makes_the_same_images_bit_for_bit(
    personal: Bundle,
    fresh: Callable[[str], Bundle],
    tmp_path: Path,
    strength: float,
    guidance: float,
) -> None:
    save_user_adapter(tmp_path, personal.unet)
    e = vector()
    mine = ours(personal, e.expand(2, -1), strength, guidance)
    plain = fresh(personal.family.name)
    pipe = to_pipeline(plain)
    pipe.load_ip_adapter(str(tmp_path), subfolder="", weight_name=FILE, image_encoder_folder=None)
    pipe.set_ip_adapter_scale(strength)
    pipe.unet.requires_grad_(False)  # ours is frozen, and rounding depends on it
    branches = [e, e] if guidance > 1 else [e]
    shape = plain.latent_shape(32, 32)
    from diffusers import DDIMScheduler

    pipe.scheduler = DDIMScheduler.from_config(plain.scheduler.config)
    with torch.no_grad():
        latents = pipe(
            prompt=PROMPTS[:2],
            latents=starting_noise([SEED, SEED], torch.arange(2), shape),
            guidance_scale=guidance,
            num_inference_steps=STEPS,
            height=32,
            width=32,
            output_type="latent",
            ip_adapter_image_embeds=[torch.stack(branches)],
        ).images
        theirs = plain.decode(latents)
    assert torch.equal(mine, theirs)


def test_without_users_or_strength_images_are_the_bases_bit_for_bit(
    personal: Bundle, fresh: Callable[[str], Bundle]
) -> None:
    base = ours(fresh(personal.family.name), None, 1.0, 6.0)
    assert torch.equal(ours(personal, None, 1.0, 6.0), base)
    assert torch.equal(ours(personal, vector().expand(2, -1), 0.0, 6.0), base)
    assert not torch.equal(ours(personal, vector().expand(2, -1), 1.0, 6.0), base)


def test_each_image_has_its_own_user(personal: Bundle) -> None:
    two = torch.cat([vector(), -vector()])
    both = ours(personal, two, 1.0, 6.0)
    first = ours(personal, vector().expand(2, -1), 1.0, 6.0)
    assert torch.allclose(both[0], first[0], atol=1e-6)
    assert not torch.allclose(both[1], first[1], atol=1e-4)


def test_a_model_without_adapter_refuses_users(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="knows no users"):
        ours(bundle, vector().expand(2, -1), 1.0, 6.0)
    with pytest.raises(ValueError, match="1 users"):
        ours(bundle, vector(), 1.0, 6.0)
